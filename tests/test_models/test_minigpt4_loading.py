# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The whole model built from parts and filled from files."""

import hashlib
import time

import pytest
import torch
from helpers.tiny_llm import LLAMA
from mmengine.runner import load_checkpoint
from mmpretrain.structures import DataSample

from mmpretrain_minigpt4.checkpoints.saving import save_trained
from mmpretrain_minigpt4.errors import (
    CheckpointError,
    ConfigError,
    MissingWeightsError,
)
from mmpretrain_minigpt4.registry import MODELS


def sample(**fields):
    made = DataSample()
    for key, value in fields.items():
        made.set_field(value, key)
    return made


def samples():
    return [
        sample(gt_caption='a red fig.'),
        sample(gt_caption='a cat', prompt='what is in the image'),
    ]


def digest(module):
    state = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        state.update(name.encode() + tensor.numpy().tobytes())
    return state.hexdigest()


def test_nothing_large_is_built_before_a_missing_model_is_told(tiny):
    tiny['head']['llm'] = 'no/such/folder'
    tiny['backbone'] = dict(type='mmpretrain_minigpt4.EVAViT')  # 1 billion
    tiny['checkpoints'] = ['nor/this/file.pth']  # asked for after the model
    begin = time.perf_counter()
    with pytest.raises(MissingWeightsError, match='VICUNA_DIR'):
        MODELS.build(tiny)
    assert time.perf_counter() - begin < 1


def test_a_projection_that_does_not_fit_is_told(tiny):
    tiny['projector']['out_channels'] = 48
    with pytest.raises(ConfigError, match='48-wide.*32-wide'):
        MODELS.build(tiny)


@pytest.mark.parametrize('settings', [
    dict(freeze=('vision', )), dict(freeze='backbone head'),
    dict(from_scratch=('llm', )), dict(dtype='int8')
])
def test_wrong_settings_are_told(tiny, settings):
    with pytest.raises(ConfigError):
        MODELS.build(tiny | settings)


@pytest.fixture
def files(model, tmp_path):
    """Vision weights, and a projection, as files."""
    from safetensors.torch import save_file
    state = model.state_dict()
    save_file(
        {
            k: v.contiguous()
            for k, v in state.items() if k.startswith(('backbone.', 'neck.'))
        }, tmp_path / 'vision.safetensors')
    save_trained(model, tmp_path / 'trained.safetensors')
    return [
        str(tmp_path / 'vision.safetensors'),
        str(tmp_path / 'trained.safetensors')
    ]


def test_checkpoints_fill_a_model_that_was_built_empty(
        tiny, files, model, images):
    torch.manual_seed(9)
    loaded = MODELS.build(tiny | dict(checkpoints=files))
    assert digest(loaded) == digest(model)
    assert torch.equal(loaded(images), model(images))
    assert not loaded.backbone.cls_token.requires_grad
    assert loaded.projector.layers[0].weight.requires_grad
    loaded.init_weights()  # the Runner's call changes nothing
    assert digest(loaded) == digest(model)
    assert loaded.load_report.ok


def test_a_projection_may_begin_anew_only_when_asked(tiny, files):
    with pytest.raises(CheckpointError, match='projector'):
        MODELS.build(tiny | dict(checkpoints=files[:1]))
    model = MODELS.build(
        tiny | dict(checkpoints=files[:1], from_scratch=('projector', )))
    assert not model.projector.layers[0].weight.is_meta


def test_a_missing_checkpoint_is_told_before_the_language_model_is_read(
        tiny, monkeypatch):
    monkeypatch.delenv('MINIGPT4_WEIGHTS', raising=False)
    monkeypatch.setattr(
        'mmpretrain_minigpt4.llm.loader.load',
        lambda *args: pytest.fail('the language model was read'))
    with pytest.raises(MissingWeightsError, match='nowhere.pth'):
        MODELS.build(tiny | dict(checkpoints=['no/nowhere.pth']))


def test_random_language_weights_must_be_in_the_checkpoints(tiny, files):
    tiny['head'].update(llm=dict(config=LLAMA))
    with pytest.raises(CheckpointError, match='head.llm'):
        MODELS.build(tiny | dict(checkpoints=files))


def test_what_was_trained_loads_strictly_where_the_rest_has_its_files(
        tiny, files, model, tmp_path):
    state = {
        k: v
        for k, v in model.state_dict().items() if k.startswith('projector.')
    }
    path = str(tmp_path / 'trained.pth')
    torch.save(dict(state_dict=state), path)
    torch.manual_seed(9)
    loaded = MODELS.build(
        tiny | dict(checkpoints=files[:1], from_scratch=('projector', )))
    assert digest(loaded) != digest(model)
    load_checkpoint(loaded, path, strict=True)
    assert digest(loaded) == digest(model)
    loaded.load_state_dict(state, strict=True)
    # A projection that is missing is still missing.
    with pytest.raises(RuntimeError, match='projector'):
        loaded.load_state_dict({}, strict=True)


def test_only_a_language_model_with_a_folder_may_be_absent(tiny, model):
    state = {
        k: v
        for k, v in model.state_dict().items() if not k.startswith('head.')
    }
    model.load_state_dict(state, strict=True)
    tiny['head'].update(llm=dict(config=LLAMA))
    other = MODELS.build(tiny)
    with pytest.raises(RuntimeError, match='head.llm'):
        other.load_state_dict(state, strict=True)


def test_the_variant_without_q_former(tiny, images):
    tiny['neck'] = dict(type='mmpretrain_minigpt4.PatchMerger', num_patches=4)
    tiny['projector']['in_channels'] = 64
    tiny['head']['template'] = 'llama2'
    model = MODELS.build(tiny)
    assert model(images).shape == (2, 1, 32)
    model(images, samples(), mode='loss')['loss'].backward()
    model(images, samples(), mode='predict')


def test_the_7b_model_has_its_published_size_on_the_meta_device():
    ours = 'mmpretrain_minigpt4.'
    vicuna = dict(
        model_type='llama',
        vocab_size=32000,
        hidden_size=4096,
        intermediate_size=11008,
        num_hidden_layers=32,
        num_attention_heads=32)
    with torch.device('meta'):
        model = MODELS.build(
            dict(
                type=ours + 'MiniGPT4',
                backbone=dict(type=ours + 'EVAViT'),
                neck=dict(type=ours + 'QFormer'),
                projector=dict(type=ours + 'LinearProjector'),
                head=dict(
                    type=ours + 'VicunaHead', llm=dict(config=vicuna)),
                checkpoints=['not/read/on/meta.pth']))
    assert sum(p.numel() for p in model.parameters()) == 7_832_625_024
