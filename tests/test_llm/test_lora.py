# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""LoRA beside a frozen language model: what is added, saved and merged."""

import sys

import pytest
import torch
from mmpretrain.structures import DataSample
from safetensors.torch import load_file, save_file

from mmpretrain_minigpt4.checkpoints.saving import save_trained
from mmpretrain_minigpt4.errors import CheckpointError, ConfigError
from mmpretrain_minigpt4.llm import lora
from mmpretrain_minigpt4.registry import MODELS

peft = pytest.importorskip('peft')
A = 'head.llm.model.layers.0.self_attn.q_proj.lora_A.default.weight'


@pytest.fixture
def with_lora(tiny):
    return dict(tiny, lora=dict(r=2, alpha=8))


def built(cfg):
    torch.manual_seed(0)
    return MODELS.build(cfg).train()


def samples():
    return [DataSample(gt_caption='red fig.'), DataSample(gt_caption='a.')]


def draw(model):
    """Give LoRA an effect, which it has not at its start."""
    for parameter in lora.lora_parameters(model.head.llm).values():
        torch.nn.init.normal_(
            parameter, std=0.5, generator=torch.Generator().manual_seed(2))


def logits(model, images):
    with torch.no_grad():
        feats = model(images)
        return model.head.logits(
            feats, [model.head.reader.prompt(x, 1)[0]
                    for x in samples()])[0]


def test_lora_changes_nothing_before_it_is_trained(tiny, with_lora, images):
    torch.testing.assert_close(
        logits(built(with_lora), images), logits(built(tiny), images),
        rtol=0, atol=0)


def test_gradient_reaches_lora_and_projection_and_nothing_else(with_lora,
                                                               images):
    model = built(with_lora)
    draw(model)
    before = {k: x.detach().clone() for k, x in model.state_dict().items()}
    trained = {k for k, x in model.named_parameters() if x.requires_grad}
    assert {k for k in trained if '.lora_' not in k} == {
        'projector.layers.0.weight', 'projector.layers.0.bias'}
    layers = model.head.llm.config.num_hidden_layers
    assert len(trained) == 2 + layers * 2 * 2  # q and v, A and B
    optimizer = torch.optim.SGD(
        [x for x in model.parameters() if x.requires_grad], lr=0.1)
    model(images, samples(), mode='loss')['loss'].backward()
    assert all(x.grad is not None and x.grad.any()
               for x in model.parameters() if x.requires_grad)
    optimizer.step()
    changed = {k for k, x in model.state_dict().items()
               if not torch.equal(x, before[k])}
    assert changed == trained


def test_dropout_is_of_lora_alone_and_of_training_alone(with_lora, images):
    with_lora['lora']['dropout'] = 0.5
    model = built(with_lora)
    draw(model)
    assert not torch.equal(logits(model, images), logits(model, images))
    model.eval()
    assert torch.equal(logits(model, images), logits(model, images))
    assert not any(x.training for x in model.train().head.modules()
                   if not isinstance(x, torch.nn.Dropout))


def test_what_is_trained_keeps_float32_in_a_narrow_model(with_lora, images):
    with_lora['head']['dtype'] = 'bfloat16'
    model = built(with_lora)
    draw(model)
    before = model.get_parameter(A).detach().clone()
    model(images, samples(), mode='loss')['loss'].backward()
    assert model.get_parameter(A).dtype == torch.float32
    assert torch.equal(model.get_parameter(A), before)
    assert model.head.llm.lm_head.weight.dtype == torch.bfloat16


def test_a_checkpoint_holds_what_was_trained_and_loads(with_lora, images,
                                                       tmp_path):
    model = built(with_lora)
    draw(model)
    path = save_trained(model, tmp_path / 'trained.safetensors')
    assert set(load_file(path)) == {
        k for k, x in model.named_parameters() if x.requires_grad}
    save_file({k: x for k, x in model.state_dict().items()
               if k.startswith(('backbone', 'neck'))},
              tmp_path / 'vision.safetensors')
    again = MODELS.build(dict(with_lora, checkpoints=[
        str(tmp_path / 'vision.safetensors'), str(path)]))
    assert torch.equal(logits(again, images), logits(model.eval(), images))


def test_lora_weights_for_a_model_without_are_refused(with_lora, tiny,
                                                      tmp_path):
    path = save_trained(built(with_lora), tmp_path / 'trained.safetensors')
    with pytest.raises(CheckpointError, match='merge-lora'):
        MODELS.build(dict(tiny, checkpoints=[str(path)]))
    other = dict(with_lora, lora=dict(r=4, alpha=8), checkpoints=[str(path)])
    with pytest.raises(CheckpointError, match=r'model\.lora\.r=2'):
        MODELS.build(other)


def test_another_scale_than_that_of_the_training_is_refused(with_lora,
                                                            tmp_path):
    model = built(with_lora)
    trained = save_trained(model, tmp_path / 'trained.safetensors')
    save_file({k: x for k, x in model.state_dict().items()
               if k.startswith(('backbone', 'neck'))},
              tmp_path / 'vision.safetensors')
    files = [str(tmp_path / 'vision.safetensors'), str(trained)]
    with pytest.raises(CheckpointError, match='alpha=8 and model.lora has'):
        MODELS.build(dict(
            with_lora, lora=dict(r=2, alpha=16), checkpoints=files))


def test_a_part_of_lora_is_refused(with_lora, tmp_path):
    model = built(with_lora)
    tensors = {k: x.contiguous() for k, x in model.state_dict().items()
               if not k.startswith('head.') or '.lora_' in k}
    del tensors[A]
    save_file(tensors, tmp_path / 'part.safetensors')
    with pytest.raises(CheckpointError, match=A):
        MODELS.build(dict(
            with_lora, checkpoints=[str(tmp_path / 'part.safetensors')]))


@pytest.mark.parametrize('settings, said', [
    (dict(r=0), 'r=0'),
    (dict(dropout=1.), 'dropout=1.0'),
    (dict(rank=4), '"rank"'),
    (dict(target_modules=['qq']), r"\['qq'\].*target_modules"),
])
def test_settings_without_meaning_are_refused(tiny, settings, said):
    with pytest.raises(ConfigError, match=said):
        MODELS.build(dict(tiny, lora=settings))


def test_lora_on_a_language_model_that_is_trained_is_refused(with_lora):
    with pytest.raises(ConfigError, match="leave 'head' in freeze"):
        MODELS.build(dict(with_lora, freeze=['backbone', 'neck']))


def test_without_peft_the_mend_is_told(with_lora, monkeypatch):
    monkeypatch.setitem(sys.modules, 'peft', None)
    with pytest.raises(ConfigError, match=r'mmpretrain-minigpt4\[lora\]'):
        MODELS.build(with_lora)
