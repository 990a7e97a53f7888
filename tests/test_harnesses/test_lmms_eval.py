# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The real lmms-eval runs the tiny twin on a task made here."""

import configparser
import json
import os
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from mmpretrain_minigpt4.apis import VQAInferencer
from mmpretrain_minigpt4.datasets.shapes import TEST_SEED, draw_scene
from mmpretrain_minigpt4.errors import ConfigError, ImageError

evaluator = pytest.importorskip(
    'lmms_eval.evaluator',
    reason='lmms-eval is not installed (pip install lmms-eval)',
    exc_type=ImportError)

ROOT = Path(__file__).resolve().parents[2]
SCENES = [draw_scene(TEST_SEED + i) for i in range(8)]
WRONG = ('purple', 'nothing at all')

UTILS = '''
from PIL import Image


def visual(doc):
    return [Image.open(doc['image']).convert('RGB')]


def question(doc, lmms_eval_specific_kwargs=None):
    return doc['question']


def rounds(doc, lmms_eval_specific_kwargs=None, previous_output=None,
           round_idx=None, previous_round_info=None):
    if round_idx is None:
        return doc['question']
    if round_idx == 1:
        return visual(doc), doc['second'], False, previous_output, 'kept'
    assert previous_round_info == 'kept'
    return None, None, True, previous_output, None


def score(doc, results):
    return {'right': float(results[0] == doc['answer'])}


def both(doc, results):
    return {'right': float(results[0] == [doc['answer'], doc['other']])}


def mean(values):
    return sum(values) / len(values)
'''
TASK = '''
task: {name}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {rows}
test_split: test
output_type: {kind}
doc_to_visual: !function utils.visual
doc_to_text: !function utils.{text}
doc_to_target: {target}
{more}
metadata:
  - version: 0.0
'''
GENERATION = '''
generation_kwargs:
  max_new_tokens: 40
  temperature: 0
  top_p: 0
  do_sample: false
process_results: !function utils.{score}
metric_list:
  - metric: right
    aggregation: !function utils.mean
    higher_is_better: true
'''
CHOICES = '''
doc_to_choice: choices
metric_list:
  - metric: acc
'''


@pytest.fixture(scope='module')
def twin():
    return VQAInferencer('minigpt-4_tiny_vqa')


@pytest.fixture(scope='module')
def answers(twin):
    def ask(number):
        return [x['pred_answer'] for x in twin(
            [s.image for s in SCENES], [s.qa[number][0] for s in SCENES],
            max_new_tokens=40)]
    return ask(0), ask(1)


@pytest.fixture(scope='module')
def tasks(tmp_path_factory, answers):
    """A folder of tasks; what they take for right are the twin's answers,
    but for the last scene's."""
    folder = tmp_path_factory.mktemp('tasks')
    os.environ.setdefault('HF_DATASETS_CACHE', str(folder / 'cache'))
    rows = []
    for i, scene in enumerate(SCENES):
        path = folder / f'{scene.seed}.png'
        scene.image.save(path)
        right = answers[0][i] if scene is not SCENES[-1] else 'purple'
        rows.append(dict(
            image=str(path), question=scene.qa[0][0], answer=right,
            second=scene.qa[1][0], other=answers[1][i],
            choices=[WRONG[0], answers[0][i], WRONG[1]],
            gold=1 if scene is not SCENES[-1] else 0))
    (folder / 'rows.json').write_text(
        '\n'.join(map(json.dumps, rows)), encoding='utf-8')
    (folder / 'utils.py').write_text(UTILS, encoding='utf-8')
    for name, kind, text, target, more in (
            ('shapes_text', 'generate_until', 'question', 'answer',
             GENERATION.format(score='score')),
            ('shapes_rounds', 'generate_until_multi_round', 'rounds',
             'answer', GENERATION.format(score='both')),
            ('shapes_choice', 'multiple_choice', 'question', 'gold',
             CHOICES)):
        (folder / f'{name}.yaml').write_text(
            TASK.format(name=name, rows=folder / 'rows.json', kind=kind,
                        text=text, target=target, more=more),
            encoding='utf-8')
    return folder


@pytest.fixture
def registry(monkeypatch):
    """lmms-eval's, told what ``setup.cfg`` tells it once installed."""
    from lmms_eval import models
    config = configparser.ConfigParser()
    config.read(ROOT / 'setup.cfg', encoding='utf-8')
    lines = config['options.entry_points']['lmms_eval.models'].split('=')
    point = EntryPoint(lines[0].strip(), lines[1].strip(), 'lmms_eval.models')
    registry = models.MODEL_REGISTRY_V2
    monkeypatch.setattr(registry, '_select_entry_points', lambda _: [point])
    registry.load_entrypoint_manifests(overwrite=True)
    return registry


def test_lmms_eval_finds_the_model_by_its_name(registry):
    from mmpretrain_minigpt4.harnesses.lmms_eval import MiniGPT4
    assert registry.get_model_class('minigpt4') is MiniGPT4


@pytest.mark.parametrize('task, metric', [('shapes_text', 'right'),
                                          ('shapes_rounds', 'right'),
                                          ('shapes_choice', 'acc')])
def test_a_run_scores_what_the_inferencer_answers(registry, tasks, task,
                                                  metric):
    from lmms_eval.tasks import TaskManager
    found = evaluator.simple_evaluate(
        model='minigpt4',
        model_args='pretrained=minigpt-4_tiny_vqa',
        tasks=[task],
        batch_size=3,
        device='cpu',
        task_manager=TaskManager(
            'ERROR', include_path=str(tasks), include_defaults=False),
        log_samples=True,
        bootstrap_iters=0)
    scores = found['results'][task]
    assert scores[f'{metric},none'] == pytest.approx(7 / 8)
    assert len(found['samples'][task]) == 8


def test_bad_model_arguments_are_refused():
    from mmpretrain_minigpt4.harnesses.lmms_eval import MiniGPT4
    with pytest.raises(ConfigError, match='no pretrain. Known: pretrained'):
        MiniGPT4.create_from_arg_string('pretrain=minigpt-4_tiny_vqa')
    with pytest.raises(ConfigError, match='batch_size=auto'):
        MiniGPT4.create_from_arg_string('', dict(batch_size='auto'))
    with pytest.raises(ConfigError, match='minigpt-4_tiny_vqa'):
        MiniGPT4.create_from_arg_string('pretrained=minigpt-4_tiny_vqs')


def test_a_broken_image_stops_the_run_and_is_named(tmp_path):
    from lmms_eval.api.instance import Instance

    from mmpretrain_minigpt4.harnesses.lmms_eval import MiniGPT4
    model = MiniGPT4('minigpt-4_tiny_vqa', device='cpu')
    broken = tmp_path / 'broken.png'
    broken.write_bytes(b'')
    model.task_dict['made'] = {'test': [dict(image=broken)]}
    request = Instance(
        'generate_until',
        ('What is this?', dict(until=['\n\n']), lambda doc: [doc['image']],
         0, 'made', 'test'), 0,
        dict(task='made', doc_id=0, repeats=1))
    with pytest.raises(ImageError, match=r'made \(test\), document 0: .*'
                       'broken.png'):
        model.generate_until([request])
