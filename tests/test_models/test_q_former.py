# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""QFormer: parity with transformers, its size, its dropout."""

import pytest
import torch

from mmpretrain_minigpt4.checkpoints.conversion import to_native
from mmpretrain_minigpt4.checkpoints.loading import load_state
from mmpretrain_minigpt4.errors import ConfigError
from mmpretrain_minigpt4.models.necks import QFormer
from mmpretrain_minigpt4.registry import MODELS

TINY = dict(
    num_queries=6,
    embed_dims=24,
    num_layers=3,
    num_heads=3,
    feedforward_channels=40,
    encoder_dims=32)


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def reference():
    from transformers import Blip2QFormerConfig, Blip2QFormerModel
    config = Blip2QFormerConfig(
        hidden_size=24,
        num_hidden_layers=3,
        num_attention_heads=3,
        intermediate_size=40,
        encoder_hidden_size=32,
        cross_attention_frequency=2,
        layer_norm_eps=1e-12,
        attn_implementation='eager')
    model = Blip2QFormerModel(config).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(
                0.3 * torch.randn(parameter.shape, generator=generator))
    return model


def test_it_equals_the_query_path_of_transformers():
    theirs = reference()
    queries = torch.randn(1, 6, 24)
    ours = QFormer(**TINY).eval()
    state = {
        f'qformer.{key}': value
        for key, value in theirs.state_dict().items()
    }
    state['query_tokens'] = queries
    load_state(torch.nn.ModuleDict({'neck': ours}), to_native(state))
    image = torch.randn(2, 9, 32)
    with torch.no_grad():
        expected = theirs(
            query_embeds=queries.expand(2, -1, -1),
            encoder_hidden_states=image).last_hidden_state
        (out, ) = ours((image, ))
    assert out.shape == (2, 6, 24)
    assert (out - expected).abs().max() <= 1e-5


def test_full_size_has_the_published_number_of_parameters():
    with torch.device('meta'):
        neck = QFormer()
    queries = neck.query_tokens.numel()
    assert (count(neck) - queries, queries) == (105_137_664, 24_576)
    looking = [i for i, x in enumerate(neck.layers) if x.has_cross_attn]
    assert looking == [0, 2, 4, 6, 8, 10]


def test_it_is_built_from_a_config():
    neck = MODELS.build(dict(type='mmpretrain_minigpt4.QFormer', **TINY))
    assert isinstance(neck, QFormer)


def test_dropout_acts_in_training_mode_only():
    neck = QFormer(**TINY)
    image = torch.randn(1, 9, 32)
    with torch.no_grad():
        assert not neck(
            (image, ))[0].equal(neck((image, ))[0])
        neck.eval()
        assert neck((image, ))[0].equal(neck((image, ))[0])


def test_the_last_of_several_feature_maps_is_read():
    neck = QFormer(**TINY).eval()
    image = torch.randn(1, 9, 32)
    assert neck((torch.zeros(1, 4, 7), image))[0].equal(neck((image, ))[0])


def test_every_parameter_gets_a_gradient():
    neck = QFormer(**TINY)
    # A fixed direction, as the sum of a normalised vector has no gradient.
    (neck((torch.randn(2, 9, 32), ))[0] * torch.randn(24)).sum().backward()
    assert all(p.grad is not None for p in neck.parameters())


def test_float32_features_may_enter_a_bfloat16_neck():
    neck = QFormer(**TINY).to(torch.bfloat16).eval()
    assert neck((torch.randn(1, 9, 32), ))[0].dtype == torch.bfloat16


def test_features_of_another_width_are_refused_with_the_mend():
    with pytest.raises(ConfigError, match="backbone's embed_dims"):
        QFormer(**TINY)((torch.zeros(1, 9, 31), ))


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ConfigError, match='num_heads=5'):
        QFormer(**{**TINY, 'num_heads': 5})
