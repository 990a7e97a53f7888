# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""No time is taken of two models that do not compute the same."""

import copy

import pytest
import torch
from benchmark import equality, inputs
from benchmark.baseline import build_ours, build_peer, move_weights
from torch import nn

from mmpretrain_minigpt4.errors import BenchmarkError, ConfigError

CPU = torch.device('cpu')


def test_the_peer_with_our_weights_computes_the_same(pair, dims):
    found = equality.check(*pair, dims, 'float32')
    assert set(found) == {'visual', 'logits', 'loss'}
    assert max(found.values()) < 1e-5


@pytest.mark.parametrize('part', [
    'vision_model.encoder.layers.1.self_attn.qkv.bias',
    'vision_model.post_layernorm.weight',
    'query_tokens',
    'qformer.encoder.layer.0.crossattention.attention.value.weight',
    'language_projection.bias',
    'language_model.model.layers.1.mlp.down_proj.weight',
    'language_model.lm_head.weight',
])
def test_one_weight_that_differs_is_found_in_every_part(pair, dims, part):
    ours, peer = pair[0], copy.deepcopy(pair[1])
    with torch.no_grad():
        # The first numbers: of a qkv bias those of the queries.
        weight = peer.state_dict()[part]
        weight.view(-1)[:8] += 0.5
    with pytest.raises(BenchmarkError, match='The models differ: '):
        equality.check(ours, peer, dims, 'float32')


def test_another_epsilon_is_a_difference(pair, dims):
    peer = copy.deepcopy(pair[1])
    peer.vision_model.post_layernorm.eps = 0.1
    with pytest.raises(BenchmarkError, match='visual'):
        equality.check(pair[0], peer, dims, 'float32')


def test_frozen_weights_are_held_once_and_the_trained_ones_apart(dims):
    # Before the first call, which may pack ours.
    ours = build_ours(dims, 'float32', CPU)
    peer = build_peer(ours, dims, 'float32', CPU)
    assert (peer.language_model.lm_head.weight.data_ptr() ==
            ours.head.llm.lm_head.weight.data_ptr())
    assert (peer.language_projection.weight.data_ptr() !=
            ours.projector.layers[0].weight.data_ptr())


def test_not_a_number_is_no_agreement(pair, dims):
    peer = copy.deepcopy(pair[1])
    with torch.no_grad():
        peer.language_model.lm_head.weight[3] = float('nan')
    with pytest.raises(BenchmarkError):
        equality.check(pair[0], peer, dims, 'float32')


def test_a_tensor_without_partner_is_named(pair):
    peer = nn.Module()
    peer.language_projection = nn.Linear(3, 3)
    with pytest.raises(ConfigError, match='language_projection.weight'):
        move_weights(pair[0], peer)
    peer = nn.Module()
    peer.surplus = nn.Linear(3, 3)
    with pytest.raises(ConfigError, match='surplus.weight'):
        move_weights(pair[0], peer)


def test_no_weight_is_left_at_zeros_or_ones(pair):
    for name, parameter in pair[0].named_parameters():
        assert parameter.std() > 1e-3, name


def test_models_of_one_seed_are_alike_and_the_global_seed_stays(dims):
    before = torch.get_rng_state()
    first, again = (build_ours(dims, 'float32', CPU, seed=3).state_dict()
                    for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(first[key], again[key]) for key in first)


def test_rows_have_the_length_that_was_asked_for(pair, dims):
    samples = inputs.make_samples(pair[0], 3, 60)
    found = inputs.peer_inputs(pair[0], dims, samples)
    assert 57 <= int(found['attention_mask'].sum(1).min())
    assert found['input_ids'].shape[1] <= 60
    assert (found['input_ids'] == dims.image_id).sum() == 3 * dims.queries
    assert len({sample.prompt for sample in samples}) == 3


def test_only_answers_are_trained_on(pair, dims):
    samples = inputs.make_samples(pair[0], 2, 60, answer=20)
    found = inputs.peer_inputs(pair[0], dims, samples, training=True)
    counts = (found['labels'] != inputs.IGNORED).sum(1)
    assert counts.tolist() == pytest.approx([20, 20], abs=2)
    # Answers stand at the end of each row.
    assert (found['labels'][:, -1] != inputs.IGNORED).all()


def test_int8_is_of_the_same_weights_and_so_near(pair, dims):
    pytest.importorskip('torchao')
    ours = build_ours(dims, 'float32', CPU, quantization='int8')
    found = equality.compare(ours, pair[1], dims)
    assert 1e-5 < found['logits'] < 0.05
