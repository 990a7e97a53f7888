# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""EVAViT: parity with transformers, its size, and its refusals."""

import pytest
import torch

from mmpretrain_minigpt4.checkpoints.conversion import to_native
from mmpretrain_minigpt4.checkpoints.loading import load_state
from mmpretrain_minigpt4.errors import ConfigError
from mmpretrain_minigpt4.models.backbones import EVAViT
from mmpretrain_minigpt4.registry import MODELS

TINY = dict(
    img_size=28,
    patch_size=7,
    embed_dims=48,
    num_layers=3,
    num_heads=4,
    feedforward_channels=80)


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def randomise(module: torch.nn.Module) -> None:
    """Give norms and biases values that show when they are mixed up."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(
                0.3 * torch.randn(parameter.shape, generator=generator))


def reference():
    from transformers import Blip2VisionConfig, Blip2VisionModel
    config = Blip2VisionConfig(
        image_size=28,
        patch_size=7,
        hidden_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=80,
        layer_norm_eps=1e-6,
        qkv_bias=True,
        attn_implementation='eager')
    model = Blip2VisionModel(config).eval()
    randomise(model)
    with torch.no_grad():
        for layer in model.encoder.layers:
            layer.self_attn.qkv.bias[48:96] = 0  # EVA's keys have no bias
    return model


def test_it_equals_the_vision_model_of_transformers():
    theirs = reference()
    # transformers gives ln_vision the epsilon of the blocks.
    ours = EVAViT(**TINY, norm_eps=1e-6, out_norm_eps=1e-6).eval()
    state = to_native({
        f'vision_model.{key}': value
        for key, value in theirs.state_dict().items()
    })
    whole = torch.nn.ModuleDict({'backbone': ours})
    load_state(whole, state)
    images = torch.randn(2, 3, 28, 28)
    with torch.no_grad():
        expected = theirs(images).last_hidden_state
        (tokens, ) = ours(images)
    assert tokens.shape == (2, 17, 48)
    assert (tokens - expected).abs().max() <= 1e-5


def test_full_size_has_the_published_number_of_parameters():
    with torch.device('meta'):
        vit = EVAViT()
    norm = count(vit.ln_vision)
    assert (count(vit) - norm, norm) == (985_894_528, 2_816)
    assert len(vit.blocks) == 39
    assert vit.pos_embed.shape == (1, 257, 1408)


def test_it_is_built_from_a_config_of_any_scope():
    vit = MODELS.build(dict(type='mmpretrain_minigpt4.EVAViT', **TINY))
    assert isinstance(vit, EVAViT)


def test_new_weights_are_drawn_with_a_small_deviation():
    torch.manual_seed(0)
    vit = EVAViT(**TINY)
    assert 0.015 < vit.blocks[0].mlp.fc1.weight.std() < 0.025
    assert vit.blocks[0].attn.q_bias.abs().max() == 0
    assert vit.ln_vision.weight.min() == 1


def test_weights_emptied_on_meta_can_be_drawn_anew():
    with torch.device('meta'):
        vit = EVAViT(**TINY)
    vit.to_empty(device='cpu').reset_parameters()
    assert all(p.isfinite().all() for p in vit.parameters())


def test_init_weights_of_the_toolbox_leaves_loaded_weights_alone():
    vit = EVAViT(**TINY)
    randomise(vit)
    before = {key: value.clone() for key, value in vit.state_dict().items()}
    vit.init_weights()
    assert all(value.equal(before[key])
               for key, value in vit.state_dict().items())


def test_the_last_norm_is_computed_in_float32():
    vit = EVAViT(**TINY).to(torch.bfloat16)
    x = torch.randn(2, 17, 48, dtype=torch.bfloat16)
    expected = torch.nn.functional.layer_norm(
        x.float(), (48, ), vit.ln_vision.weight.float(),
        vit.ln_vision.bias.float(), 1e-5).to(torch.bfloat16)
    assert vit.ln_vision(x).equal(expected)


def test_float32_images_may_enter_a_bfloat16_model():
    vit = EVAViT(**TINY).to(torch.bfloat16)
    (tokens, ) = vit(torch.randn(1, 3, 28, 28))
    assert tokens.dtype == torch.bfloat16


def test_an_image_alone_and_in_a_batch_gives_the_same_tokens():
    vit = EVAViT(**TINY).eval()
    randomise(vit)
    images = torch.randn(3, 3, 28, 28)
    with torch.no_grad():
        (batch, ) = vit(images)
        (alone, ) = vit(images[1:2])
    assert (batch[1:2] - alone).abs().max() <= 1e-5


@pytest.mark.parametrize(
    'shape', [(1, 3, 30, 30), (1, 3, 28, 21), (3, 28, 28)])
def test_images_of_another_size_are_refused_with_the_mend(shape):
    with pytest.raises(ConfigError, match='resize in the pipeline'):
        EVAViT(**TINY)(torch.zeros(shape))


def test_sides_and_widths_that_do_not_divide_are_refused():
    with pytest.raises(ConfigError, match='the nearest that is: 224'):
        EVAViT(img_size=225)
    with pytest.raises(ConfigError, match='num_heads=5'):
        EVAViT(**{**TINY, 'num_heads': 5})
