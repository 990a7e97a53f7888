# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Each benchmark's config from end to end on a small made sample.

A random model really runs on every image and prompt; then it is made to say
what gives a score that was worked out by hand.
"""

import re
from pathlib import Path

import pytest
import torch
from helpers import benchmark_files, tiny_llm
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.evaluator import Evaluator

from mmpretrain_minigpt4.registry import DATASETS, MODELS

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / 'configs' / 'minigpt4' / 'benchmarks'
CONFIGS = sorted(FOLDER.glob('*.py'))
NAMES = [path.stem for path in CONFIGS
         if not path.stem.startswith('minigpt-4_')]


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp('tokens')
    tiny_llm.write_tokenizer(folder / 'tokenizer.model')
    ours = 'mmpretrain_minigpt4.'
    torch.manual_seed(0)
    return MODELS.build(dict(
        type=ours + 'MiniGPT4',
        data_preprocessor=dict(mean=[120.] * 3, std=[70.] * 3, to_rgb=False),
        backbone=dict(
            type=ours + 'EVAViT', img_size=28, patch_size=14, embed_dims=16,
            num_layers=1, num_heads=2, feedforward_channels=24),
        neck=dict(
            type=ours + 'QFormer', num_queries=2, embed_dims=24, num_layers=1,
            num_heads=2, feedforward_channels=32, encoder_dims=16),
        projector=dict(
            type=ours + 'LinearProjector', in_channels=24, out_channels=32),
        head=dict(
            type=ours + 'VicunaHead', tokenizer=str(folder),
            llm=dict(config=dict(tiny_llm.LLAMA,
                                 max_position_embeddings=1024)),
            generation=dict(max_new_tokens=2)))).eval()


def load(name):
    """A benchmark's config for that model's image size, without workers."""
    cfg = Config.fromfile(FOLDER / f'{name}.py')
    steps = cfg.test_dataloader.dataset.pipeline
    assert steps[1].scale == cfg.model.backbone.img_size == 224
    steps[1].scale = 28
    return cfg


def test_every_benchmark_has_a_made_sample():
    assert set(benchmark_files.MADE) == set(NAMES)


@pytest.mark.parametrize('name', NAMES)
def test_a_benchmark_gives_the_score_worked_out_by_hand(
        name, model, tmp_path, monkeypatch):
    write, answers, expected = benchmark_files.MADE[name]
    monkeypatch.chdir(tmp_path)
    write()
    cfg = load(name)
    dataset = cfg.test_dataloader.dataset
    for key in ('num_images', 'indices'):
        if key in dataset:
            dataset[key] = 2 if key == 'indices' else 3
    dataset = DATASETS.build(dataset)
    head = cfg.model.head
    assert not head.generation.do_sample and head.generation.num_beams == 1
    reader = model.head.reader
    monkeypatch.setattr(model.head, 'reader', type(reader)(
        head.task, reader.template, head.get('prompt', reader.default),
        head.get('question_template', '{question}')))
    cfg.test_evaluator.pop('_delete_', None)
    if cfg.test_evaluator.type.endswith('CaptionScores'):
        cfg.test_evaluator.tokenizer = 'words'
    evaluator = Evaluator(cfg.test_evaluator)
    samples = model.test_step(
        default_collate([dataset[i] for i in range(len(dataset))]))
    field = f'pred_{dict(vqa="answer").get(head.task, head.task)}'
    for sample in samples:
        assert isinstance(sample.get(field), str)
        key = sample.get('question_id', sample.get('image_id'))
        if 'rotation' in sample:
            key = f'{key}/{sample.rotation}'
        said = answers(key) if callable(answers) else answers[key]
        sample.set_field(said, field, dtype=None)
    evaluator.process(samples)
    scores = {key.partition('/')[2]: value
              for key, value in evaluator.evaluate(len(dataset)).items()}
    found = {key: scores[key] for key in expected}
    assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_a_config_opens_with_all_that_a_score_needs(path):
    head = path.read_text().split('_base_ =')[0]
    assert f'configs/minigpt4/benchmarks/{path.name}' in head
    if path.stem in NAMES:
        for word in ('Files: ', 'Layout:', 'Prompt: ', 'Decoding: greedy',
                     'Extraction: ', 'Samples: ', 'Published: ',
                     'Expected: not measured here.'):
            assert word in head, word


def test_another_model_can_be_put_in(monkeypatch):
    monkeypatch.setenv('MINIGPT4_CONFIG',
                       '../../minigpt-4_vicuna-13b_caption.py')
    cfg = Config.fromfile(FOLDER / 'pope_random.py')
    assert cfg.model.projector.out_channels == 5120
    assert cfg.model.head.task == 'vqa'


def test_the_page_of_benchmarks_lists_every_config():
    page = ROOT / 'docs' / 'evaluate.md'
    listed = set(re.findall(r'`benchmarks/([\w-]+)\.py`', page.read_text()))
    assert listed >= set(NAMES)
