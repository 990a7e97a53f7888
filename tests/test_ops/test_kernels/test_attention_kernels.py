# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Attention to ragged rows of a cache gives what float64 gives.

Legend: n rows, w tokens a row, H heads, K key-value heads, D width of a head,
C entries of a slot.
"""

import pytest
import torch
from helpers.float64_reference import CLOSE, decode_attention, error

from mmpretrain_minigpt4.ops.kernels import reference

# n, w, H, K, D, C, lengths
SHAPES = {
    'ragged': (3, 1, 2, 2, 128, 130, (1, 130, 65)),
    'a width of 80': (2, 1, 2, 2, 80, 70, (64, 7)),
    'a width of 88': (1, 1, 2, 2, 88, 130, (97, )),
    'a width of 256': (1, 1, 1, 1, 256, 40, (33, )),
    'shared keys': (2, 1, 6, 2, 64, 140, (139, 64)),
    'beams': (2, 3, 2, 2, 64, 140, (140, 3)),
    'beams of shared keys': (1, 5, 4, 1, 80, 70, (66, )),
    'more queries than a block': (1, 17, 1, 1, 64, 70, (70, )),
}


def draw(shape, dtype, device, slots=None):
    rows, tokens, heads, kv_heads, dims, room, lengths = shape
    q = torch.randn(rows, tokens, heads, dims)
    keys, values = torch.randn(2, slots or rows, kv_heads, room, dims)
    return (*(x.to(device, dtype) for x in (q, keys, values)),
            torch.tensor(lengths, device=device))


@pytest.mark.parametrize('name, multiprocessors', [
    *((name, 132) for name in SHAPES), ('ragged', 1), ('beams', 1)])
def test_attention(kernels, device, name, multiprocessors):
    q, keys, values, lengths = draw(SHAPES[name], torch.float32, device, 3)
    wanted = decode_attention(q, keys, values, lengths)
    # What is behind a row's length is never looked at.
    for row, length in enumerate(lengths):
        keys[row, :, length:] = values[row, :, length:] = torch.nan
    found = kernels.decode_attention(
        q, keys, values, lengths, multiprocessors=multiprocessors)
    assert found.shape == q.shape
    assert error(found, wanted) < CLOSE[torch.float32]


@pytest.mark.parametrize('name', ['a width of 80', 'beams'])
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16], ids=str)
def test_attention_in_16_bits(kernels, device, name, dtype):
    drawn = draw(SHAPES[name], dtype, device)
    found = kernels.decode_attention(*drawn)
    assert found.dtype == dtype
    assert error(found, decode_attention(*drawn)) < CLOSE[dtype]


@pytest.mark.parametrize('tokens', [1, 3])
@pytest.mark.parametrize('multiprocessors', [1, 132])
def test_a_bias_hides_entries(kernels, device, tokens, multiprocessors):
    shape = (2, tokens, 2, 2, 64, 200, (200, 150))
    q, keys, values, lengths = draw(shape, torch.float32, device)
    bias = torch.zeros(2, tokens, 200)
    bias[torch.rand(bias.shape) < 0.5] = -torch.inf
    bias[0, 0, :128] = -torch.inf  # Whole blocks, and whole parts.
    bias[1, -1, :150] = -torch.inf  # All that it sees.
    bias = bias.to(device)
    found = kernels.decode_attention(
        q, keys, values, lengths, bias, scale=0.3,
        multiprocessors=multiprocessors)
    wanted = decode_attention(q, keys, values, lengths, bias, scale=0.3)
    assert found[1, -1].count_nonzero() == 0
    assert error(found, wanted) < CLOSE[torch.float32]
    twin = reference.decode_attention(
        q, keys, values, lengths, bias, scale=0.3)
    assert error(twin, wanted) < CLOSE[torch.float32]


def test_a_bias_need_not_be_0_or_minus_infinity(kernels, device):
    for name in ('a width of 80', 'beams'):
        drawn = draw(SHAPES[name], torch.float32, device)
        tokens, room = drawn[0].shape[1], drawn[1].shape[2]
        bias = torch.randn(2, tokens, room).to(device)
        assert error(kernels.decode_attention(*drawn, bias),
                     decode_attention(*drawn, bias)) < CLOSE[torch.float32]


@pytest.mark.parametrize('tokens', [1, 2])
@pytest.mark.parametrize('room', [40, 140])
def test_no_length_gives_zeros_and_too_long_a_one_the_whole_slot(
        kernels, device, tokens, room):
    shape = (2, tokens, 2, 2, 64, room, (0, room + 100))
    q, keys, values, lengths = draw(shape, torch.float32, device)
    whole = torch.tensor([0, room])
    wanted = decode_attention(q, keys, values, whole)
    for operators in (kernels, reference):
        found = operators.decode_attention(q, keys, values, lengths)
        assert found[0].count_nonzero() == 0
        assert error(found, wanted) < CLOSE[torch.float32]


def test_scores_far_from_zero_do_not_overflow(kernels, device):
    for name in ('a width of 80', 'beams of shared keys'):
        q, keys, values, lengths = draw(SHAPES[name], torch.float32, device)
        assert error(
            kernels.decode_attention(100 * q, keys, values, lengths),
            decode_attention(100 * q, keys, values, lengths)) < 1e-4


def test_few_rows_are_split_and_many_are_not(kernels):
    from mmpretrain_minigpt4.ops.triton.attention import count_parts
    assert count_parts(32, 512, 132) == 8  # one row of 32 heads
    assert count_parts(32, 64, 132) == 1  # too short for it
    assert count_parts(32 * 128, 512, 132) == 1
    assert count_parts(32 * 128, 4096, 132) == 4  # None reads for too long.
    assert count_parts(1, 10**6, 132) == 64


@pytest.mark.gpu
def test_a_captured_step_reads_lengths_from_the_device(kernels, device):
    q, keys, values, lengths = draw(SHAPES['ragged'], torch.float16, 'cuda')
    kernels.decode_attention(q, keys, values, lengths)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = kernels.decode_attention(q, keys, values, lengths)
    for new in ((130, 1, 64), (2, 99, 128)):
        lengths.copy_(torch.tensor(new))
        graph.replay()
        wanted = decode_attention(q, keys, values, lengths)
        assert error(found, wanted) < CLOSE[torch.float16]
