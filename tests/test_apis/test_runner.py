# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The toolbox's Runner on the zoo's configs, with the model shrunk."""

import json

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner, load_checkpoint
from mmpretrain import get_model
from PIL import Image

from mmpretrain_minigpt4.checkpoints.saving import write_safetensors
from mmpretrain_minigpt4.errors import CheckpointError
from mmpretrain_minigpt4.zoo import config_path

NAMES = {
    'caption': 'minigpt-4_vicuna-7b_caption',
    'vqa': 'minigpt-4_vicuna-7b_vqa',
}


@pytest.fixture(scope='module')
def coco(tmp_path_factory):
    """Two pictures with captions and questions, laid out as COCO."""
    root = tmp_path_factory.mktemp('coco')
    notes = root / 'annotations'
    notes.mkdir()
    (root / 'val2014').mkdir()
    names = {1: 'COCO_val2014_000000000001.jpg',
             2: 'COCO_val2014_000000000002.jpg'}
    for number, name in names.items():
        Image.new('RGB', (50, 30 * number), 'red').save(
            root / 'val2014' / name)

    def write(name, content):
        (notes / name).write_text(json.dumps(content))

    write('coco_karpathy_val.json',
          [dict(image=f'val2014/{name}', caption=['red'])
           for name in names.values()])
    write('coco_karpathy_val_gt.json',
          dict(annotations=[dict(image_id=n, caption='red') for n in names]))
    write('v2_OpenEnded_mscoco_val2014_questions.json',
          dict(questions=[
              dict(image_id=n, question='red', question_id=n) for n in names
          ]))
    write('v2_mscoco_val2014_annotations.json',
          dict(annotations=[
              dict(image_id=n, question_id=n,
                   answers=[dict(answer='red', answer_id=1)]) for n in names
          ]))
    return root


def runner(task, shrink, coco, tmp_path, **changes):
    from mmengine.config import Config
    cfg = Config.fromfile(config_path(NAMES[task]))
    cfg.merge_from_dict(dict(model=dict(shrink, checkpoints=None)))
    loader = cfg.test_dataloader
    loader.update(num_workers=0, persistent_workers=False)
    loader.dataset.data_root = str(coco)
    if task == 'caption':
        cfg.test_evaluator.ann_file = str(
            coco / 'annotations' / 'coco_karpathy_val_gt.json')
    cfg.merge_from_dict(changes)
    cfg.work_dir = str(tmp_path)
    cfg.experiment_name = f'{task}-{tmp_path.name}'
    return Runner.from_cfg(cfg)


@pytest.fixture(scope='module')
def saved(shrink, tmp_path_factory):
    """All but the language model of a shrunk model, in one file."""
    model = get_model(NAMES['caption'], **shrink)
    state = {k: v for k, v in model.state_dict().items()
             if not k.startswith('head.llm.')}
    path = tmp_path_factory.mktemp('saved') / 'all.safetensors'
    write_safetensors(state, path)
    return path, state


def test_the_runner_scores_captions(shrink, coco, saved, tmp_path):
    pytest.importorskip('pycocoevalcap')
    path, state = saved
    run = runner('caption', shrink, coco, tmp_path, load_from=str(path))
    scores = run.test()
    assert {'COCO/CIDEr', 'COCO/Bleu_4', 'COCO/ROUGE_L'} <= set(scores)
    loaded = run.model.state_dict()
    assert all(torch.equal(loaded[key], state[key]) for key in state)


def test_the_runner_scores_answers(shrink, coco, tmp_path):
    scores = runner('vqa', shrink, coco, tmp_path).test()
    assert 0 <= scores['VQA/acc'] <= 100


def test_a_file_in_several_parts_is_loaded_by_the_toolbox(
        shrink, saved, tmp_path):
    _, state = saved
    for part in ('backbone', 'neck', 'projector'):
        write_safetensors(
            {k: v for k, v in state.items() if k.startswith(part)},
            tmp_path / f'{part}.safetensors')
    names = f'{tmp_path}/{{backbone,neck,projector}}.safetensors'
    model = get_model(NAMES['vqa'], pretrained=names, **shrink)
    loaded = model.state_dict()
    assert all(torch.equal(loaded[key], state[key]) for key in state)
    other = get_model(NAMES['vqa'], **shrink)
    report = load_checkpoint(other, names)['report']
    assert report.ok and len(report.files) == 3
    assert all(torch.equal(other.state_dict()[key], state[key])
               for key in state)


def test_a_file_of_a_part_goes_over_the_models_own_weights(
        shrink, saved, tmp_path):
    path, state = saved
    config = Config.fromfile(config_path(NAMES['vqa']))
    config.merge_from_dict(dict(model=shrink))
    config.model.checkpoints = [str(path)]
    trained = {k: v + 1 for k, v in state.items()
               if k.startswith('projector.')}
    write_safetensors(trained, tmp_path / 'trained.safetensors')
    model = get_model(
        config, pretrained=str(tmp_path / 'trained.safetensors'))
    loaded = model.state_dict()
    for key in state:
        assert torch.equal(loaded[key], trained.get(key, state[key]))
    # A whole one needs no other.
    config.model.checkpoints = ['nowhere.pth']
    model = get_model(config, pretrained=str(path))
    assert list(model.load_report.files) == [str(path)]


def test_the_toolbox_loads_our_models_strictly(shrink, saved, tmp_path):
    _, state = saved
    model = get_model(NAMES['caption'], **shrink)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    lacking = {k: v for k, v in state.items() if k.startswith('backbone')}
    torch.save(lacking, tmp_path / 'lacking.pth')
    with pytest.raises(CheckpointError, match='projection'):
        load_checkpoint(model, str(tmp_path / 'lacking.pth'))
    wrong = dict(state)
    wrong['projector.layers.0.bias'] = torch.zeros(5120)
    torch.save(wrong, tmp_path / 'wrong.pth')
    with pytest.raises(CheckpointError, match='5120'):
        load_checkpoint(model, str(tmp_path / 'wrong.pth'))
    after = model.state_dict()
    assert all(torch.equal(after[key], before[key]) for key in before)


def test_what_was_trained_is_enough_for_a_model_that_is_loaded(
        shrink, saved, tmp_path):
    path, state = saved
    model = get_model(NAMES['caption'], pretrained=str(path), **shrink)
    bias = torch.arange(32.)
    weight = state['projector.layers.0.weight']
    write_safetensors({
        'projector.layers.0.bias': bias,
        'projector.layers.0.weight': weight
    }, tmp_path / 'trained.safetensors')
    load_checkpoint(model, str(tmp_path / 'trained.safetensors'))
    assert torch.equal(model.projector.layers[0].bias, bias)
