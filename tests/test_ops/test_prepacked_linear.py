# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Prepacked layers give what plain ones give, wherever one looks."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmpretrain_minigpt4.ops import (
    attention,
    can_prepack,
    fused_linears,
    linear,
    linear_gelu,
    prepack,
    unpack,
)
from mmpretrain_minigpt4.ops.linear.prepacked import PrepackedLinear

pytestmark = pytest.mark.skipif(
    not can_prepack(torch.float32),
    reason='this PyTorch or CPU has no prepacked linear layers')


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def pair():
    """A plain layer and its prepacked twin."""
    torch.manual_seed(0)
    plain = nn.Linear(24, 40).requires_grad_(False)
    packed = copy.deepcopy(plain)
    assert prepack(packed) == 1
    assert type(packed) is PrepackedLinear
    return plain, packed


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('shape', [(24, ), (1, 24), (3, 7, 24), (0, 24)])
def test_products_are_the_same(pair, dtype, shape):
    plain, packed = (layer.to(dtype) for layer in pair)
    prepack(packed)
    x, other = torch.randn(shape, dtype=dtype), torch.randn(40, dtype=dtype)
    close = dict(rtol=1e-5, atol=1e-5)
    if dtype == torch.bfloat16:
        close = dict(rtol=2e-2, atol=2e-2)
    with torch.no_grad():
        torch.testing.assert_close(packed(x), plain(x), **close)
        torch.testing.assert_close(
            linear(packed, x, other), F.linear(x, plain.weight, other),
            **close)
        torch.testing.assert_close(
            linear_gelu(packed, x), F.gelu(plain(x)), **close)


def test_gradients_of_the_input_are_the_same(pair):
    found = []
    for layer in pair:
        x = torch.arange(48.).view(2, 24).requires_grad_()
        (layer(x) + linear_gelu(layer, x)).square().sum().backward()
        found.append(x.grad)
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-3)


def test_autocast_rounds_as_for_a_plain_layer(pair):
    x = torch.randn(5, 24)
    with torch.no_grad(), torch.autocast('cpu', torch.bfloat16):
        plain, packed = (layer(x) for layer in pair)
    assert packed.dtype == torch.bfloat16
    torch.testing.assert_close(packed, plain, rtol=2e-2, atol=2e-2)


def test_state_dicts_copies_and_pickles_hold_plain_weights(pair):
    plain, packed = pair
    assert list(packed.state_dict()) == ['bias', 'weight'] or list(
        packed.state_dict()) == ['weight', 'bias']
    for other in (copy.deepcopy(packed), pickle.loads(pickle.dumps(packed))):
        assert type(other) is nn.Linear
        assert torch.equal(other.weight, plain.weight)
    assert torch.equal(packed.state_dict()['weight'], plain.weight)
    assert torch.equal(packed.weight, plain.weight)


def test_what_is_moved_converted_or_loaded_is_plain_again(pair):
    plain, packed = pair
    packed.to(torch.float64)
    assert type(packed) is nn.Linear and packed.weight.dtype == torch.float64
    packed.float()
    assert prepack(packed) == 1
    packed.load_state_dict({
        key: value + 1
        for key, value in plain.state_dict().items()
    })
    assert type(packed) is nn.Linear
    assert torch.equal(packed.weight, plain.weight + 1)
    prepack(packed)
    unpack(packed)
    assert torch.equal(packed.weight, plain.weight + 1)


def test_trained_shared_and_other_layers_stay_as_they_are():
    module = nn.ModuleDict(dict(
        trained=nn.Linear(4, 4),
        shared=nn.Linear(4, 4, bias=False).requires_grad_(False),
        table=nn.Embedding(4, 4).requires_grad_(False),
        wide=nn.Linear(4, 4).double().requires_grad_(False),
        bilinear=nn.Bilinear(4, 4, 4).requires_grad_(False)))
    module['table'].weight = module['shared'].weight
    assert prepack(module) == 0
    assert all(type(layer) is not PrepackedLinear for layer in module.values())


@pytest.mark.parametrize('bias', [True, False])
def test_layers_packed_together_give_what_each_gives_alone(bias):
    torch.manual_seed(0)
    plain = nn.ModuleDict(dict(
        q=nn.Linear(16, 24, bias), k=nn.Linear(16, 8, bias),
        other=nn.Linear(16, 4, bias))).requires_grad_(False)
    packed = copy.deepcopy(plain)
    assert prepack(packed, (('q', 'k'), ('q', 'none'))) == 3
    x, found = torch.randn(2, 3, 16), []
    for module in (plain, packed):
        y = x.clone().requires_grad_()
        results = [
            *fused_linears([module['q'], module['k']], y),
            *fused_linears([module['k'], module['other']], y), module['q'](y)
        ]
        sum(out.square().sum() for out in results).backward()
        found.append((*(out.detach() for out in results), y.grad))
    for expected, got in zip(*found, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-4)
    for key, value in plain.state_dict().items():
        assert torch.equal(packed.state_dict()[key], value)
    packed.load_state_dict(
        {key: value + 1 for key, value in plain.state_dict().items()})
    assert all(type(layer) is nn.Linear for layer in packed.values())
    assert torch.equal(packed['k'].weight, plain['k'].weight + 1)


def test_hooks_stay(pair):
    plain, _ = pair
    seen = []
    plain.register_forward_hook(lambda *args: seen.append(args))
    prepack(plain)
    plain(torch.zeros(1, 24))
    assert len(seen) == 1


@pytest.mark.parametrize('with_bias', [True, False])
@pytest.mark.parametrize('rows, queries', [(2, 9), (2, 1), (6, 1)])
def test_attention_is_the_same_whichever_way_it_goes(with_bias, rows,
                                                     queries):
    torch.manual_seed(0)
    k, v = torch.randn(2, rows, 4, 9, 8)
    q, bias = torch.randn(rows, 4, queries, 8), None
    if with_bias:
        bias = torch.zeros(rows, 1, queries, 9)
        bias[1, :, :, 5:] = -torch.inf
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    torch.testing.assert_close(attention(q, k, v, bias), expected)
    found = attention(*(x.bfloat16() for x in (q, k, v)),
                      None if bias is None else bias.bfloat16())
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=.05, atol=.05)


@pytest.mark.parametrize('queries, keys', [(200, 200), (193, 257)])
def test_attention_over_whole_images_is_the_same(queries, keys, one_thread):
    torch.manual_seed(0)
    # Views as of a product for queries, keys and values together.
    q = torch.randn(2, queries, 3, 24).transpose(1, 2)
    k, v = torch.randn(2, 2, keys, 3, 24).transpose(2, 3)
    found = attention(q, k, v)
    expected = F.scaled_dot_product_attention(q, k, v)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    q.requires_grad_()
    attention(q, k, v).sum().backward()
    assert q.grad.shape == q.shape
