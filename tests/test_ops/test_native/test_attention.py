# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Attention of many queries gives what float64 gives, in every layout."""

import time

import pytest
import torch
import torch.nn.functional as F

from mmpretrain_minigpt4.ops import attention as door
from mmpretrain_minigpt4.ops import hide_later, kernels
from mmpretrain_minigpt4.ops.native import instructions
from mmpretrain_minigpt4.ops.native.attention import attention

# B, H, K, T, N, D
SHAPES = {
    'an image': (1, 2, 2, 257, 257, 88),
    'queries to an image': (2, 3, 3, 32, 257, 64),
    'shared keys': (2, 4, 2, 13, 40, 64),
    'one key': (1, 1, 1, 3, 1, 16),
    'odd sizes': (2, 1, 1, 7, 5, 19),
    'a narrow head': (1, 2, 1, 12, 33, 7),
    'a wide head': (1, 1, 1, 5, 70, 256),
    'one query more than a block': (1, 1, 1, 13, 31, 32),
}
CLOSE = {torch.float32: 2e-6, torch.bfloat16: 8e-3}


def draw(shape, dtype=torch.float32):
    batch, heads, kv_heads, queries, keys, width = shape
    return (torch.randn(batch, heads, queries, width).to(dtype),
            torch.randn(batch, kv_heads, keys, width).to(dtype),
            torch.randn(batch, kv_heads, keys, width).to(dtype))


def in_float64(q, k, v, before=None):
    """Row by row, head by head, query by query."""
    out = torch.empty(q.shape, dtype=torch.float64)
    group = q.shape[1] // k.shape[1]
    for row, head, query in torch.cartesian_prod(
            *(torch.arange(size) for size in q.shape[:3])).tolist():
        seen = (k.shape[2] if before is None else
                query + int(before[row]) + 1)
        keys, values = (x[row, head // group, :seen].double()
                        for x in (k, v))
        scores = keys @ q[row, head, query].double() * q.shape[-1]**-0.5
        out[row, head, query] = scores.softmax(0) @ values
    return out


def error(found, wanted):
    return ((found.double() - wanted).norm() / wanted.norm()).item()


@pytest.mark.parametrize('name', SHAPES)
@pytest.mark.parametrize('dtype', CLOSE, ids=str)
def test_it_is_that_of_float64(instruction_set, name, dtype):
    q, k, v = draw(SHAPES[name], dtype)
    found = attention(q, k, v)
    assert found.shape == q.shape and found.dtype == dtype
    assert error(found, in_float64(q, k, v)) < CLOSE[dtype]


def test_each_row_sees_what_is_before_it_and_no_more(instruction_set):
    q, k, v = draw((3, 4, 2, 14, 61, 24))
    before = torch.tensor([0, 47, 20])
    found = attention(q, k, v, before)
    assert error(found, in_float64(q, k, v, before)) < 2e-6
    for row, seen in enumerate(before.tolist()):
        # What no query sees is never looked at.
        k[row, :, seen + 14:] = v[row, :, seen + 14:] = torch.nan
        q[row, :, -1] = torch.nan
    again = attention(q, k, v, before)
    assert torch.equal(again[:, :, :-1], found[:, :, :-1])


def test_tensors_may_lie_in_any_order(instruction_set):
    # As the joint product of queries, keys and values gives them.
    whole = torch.randn(2, 21, 3, 4, 24)
    q, k, v = whole.permute(2, 0, 3, 1, 4)
    wanted = attention(*(x.contiguous() for x in (q, k, v)))
    assert torch.equal(attention(q, k, v), wanted)
    turned = k.transpose(2, 3).contiguous().transpose(2, 3)
    assert turned.stride(3) != 1
    assert torch.equal(attention(q, turned, v), wanted)
    # What callers go on with is in one piece.
    assert wanted.transpose(1, 2).is_contiguous()


def test_scores_far_from_zero_do_not_overflow(instruction_set):
    q, k, v = draw((1, 2, 2, 9, 40, 64))
    found = attention(300 * q, k, v)
    assert error(found, in_float64(300 * q, k, v)) < 1e-4


def test_what_is_no_number_stays_none(instruction_set):
    q, k, v = draw((1, 1, 1, 4, 20, 32))
    q[0, 0, 1, 3] = torch.nan
    found = attention(q, k, v)[0, 0]
    assert found.isnan().all(1).tolist() == [False, True, False, False]


def test_threads_change_nothing(instruction_set, set_threads):
    q, k, v = draw((2, 8, 4, 60, 60, 64))
    found = []
    for number in (1, 2):
        set_threads(number)
        found.append(attention(q, k, v))
    assert torch.equal(*found)


@pytest.mark.parametrize('dtype', CLOSE, ids=str)
@pytest.mark.parametrize('hidden', ['none', 'causal', 'before'])
@pytest.mark.parametrize('threads', [1, 2])
def test_every_way_gives_the_same(dtype, hidden, threads, set_threads):
    torch.manual_seed(0)
    set_threads(threads)
    for shape in ((2, 2, 2, 30, 30, 24), (1, 1, 1, 200, 200, 16)):
        q, k, v = draw(shape, dtype)
        how = dict(causal=hidden == 'causal')
        if hidden == 'before':
            how['before'] = torch.zeros(len(q), dtype=torch.long)
        before = torch.zeros(len(q)) if hidden != 'none' else None
        wanted = in_float64(q, k, v, before)
        with torch.no_grad():
            assert error(door(q, k, v, **how), wanted) < CLOSE[dtype]
            with kernels.disabled():
                assert error(door(q, k, v, **how), wanted) < CLOSE[dtype]


def test_a_gradient_takes_the_way_of_pytorch():
    q, k, v = draw((1, 2, 2, 5, 5, 8))
    v.requires_grad_()
    door(q, k, v, causal=True).square().sum().backward()
    assert v.grad.abs().sum() > 0
    with torch.no_grad():
        way = 'native' if instructions() else None
        assert kernels.available('cpu', torch.float32) == way


def test_later_keys_are_hidden():
    bias = hide_later(torch.tensor([0, 2]), 2, 5, torch.float32)
    assert bias.shape == (2, 1, 2, 5)
    assert (bias == 0).sum(-1).squeeze(1).tolist() == [[1, 2], [3, 4]]
    assert bias[1, 0, 0].tolist() == [0, 0, 0, -torch.inf, -torch.inf]


@pytest.mark.slow
def test_no_instruction_set_is_far_slower_than_pytorch(instruction_set,
                                                       set_threads):
    """A compiler that keeps vectors in memory would be, by far."""
    if instruction_set == 'baseline':
        pytest.skip('PyTorch uses better instructions, if there are any')
    set_threads(1)
    q, k, v = draw((2, 4, 4, 257, 257, 88))

    def seconds(function):
        started = time.process_time()
        function(q, k, v)
        return time.process_time() - started

    ways = attention, F.scaled_dot_product_attention
    ours, stock = (min(seconds(way) for _ in range(9)) for way in ways)
    assert ours < 2.5 * stock
