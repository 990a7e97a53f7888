# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Norms, gate and rotation give what float64 gives, and round as told."""

import pytest
import torch
from helpers.float64_reference import (
    CLOSE,
    error,
    rms_norm,
    rotate,
    silu_mul,
    wide,
)

from mmpretrain_minigpt4.ops.kernels import reference


@pytest.mark.parametrize('dtype,shape', [
    (torch.float32, (1, 88)), (torch.float32, (2, 600)),
    (torch.bfloat16, (3, 1, 64)), (torch.float16, (2, 600))])
def test_norms(kernels, device, dtype, shape):
    x, other = torch.randn(2, *shape).to(device, dtype)
    weight = torch.randn(shape[-1]).to(device, dtype)
    found = kernels.rms_norm(x, weight, 1e-5)
    assert found.shape == shape and found.dtype == dtype
    assert error(found, rms_norm(x, weight, 1e-5)) < CLOSE[dtype]
    y, total = kernels.add_rms_norm(x, other, weight, 1e-5)
    assert error(total, wide(x) + wide(other)) < CLOSE[dtype]
    assert error(y, rms_norm(total, weight, 1e-5)) < CLOSE[dtype]
    if dtype == torch.float16 or device.type == 'cuda':
        # Rounded in the same places: but for the order of sums, bit-equal.
        assert torch.equal(total, x + other)
        near = reference.add_rms_norm(x, other, weight, 1e-5)[0] == y
        assert near.float().mean() > 0.99


def test_norms_in_a_wider_type_than_the_vectors(kernels, device):
    x, weight = torch.randn(2, 64).to(device).bfloat16(), torch.randn(64)
    found = kernels.rms_norm(x, weight.to(device), 1e-5)
    wanted = reference.rms_norm(x, weight.to(device), 1e-5)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, wanted, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize('dtype,shape', [
    (torch.float32, (3, 1, 2 * 1100)), (torch.bfloat16, (1, 2 * 7)),
    (torch.float16, (2, 2 * 64))])
def test_the_gate(kernels, device, dtype, shape):
    x = (4 * torch.randn(shape)).to(device, dtype)
    found = kernels.silu_mul(x)
    assert found.shape == (*shape[:-1], shape[-1] // 2)
    assert error(found, silu_mul(x)) < 2 * CLOSE[dtype]


@pytest.mark.filterwarnings('ignore:overflow encountered in exp')
def test_the_gate_bears_large_numbers(kernels, device):
    x = torch.tensor([[-200., 200., 3., 3.]], device=device)
    torch.testing.assert_close(
        kernels.silu_mul(x), torch.tensor([[0., 600.]], device=device))


@pytest.mark.parametrize('heads,kv_heads,dims,tokens,dtype', [
    (6, 2, 64, 3, torch.float32), (3, 3, 88, 1, torch.float32),
    (3, 3, 88, 1, torch.bfloat16), (1, 1, 80, 2, torch.float16)])
def test_rotation_writes_the_cache(kernels, device, dtype, heads, kv_heads,
                                   dims, tokens):
    rows, room = 2, 9
    qkv = torch.randn(rows, tokens, (heads + 2 * kv_heads) * dims)
    cos, sin = torch.randn(2, rows, tokens, dims)
    qkv, cos, sin = (x.to(device, dtype) for x in (qkv, cos, sin))
    # One slot more than rows, in a block of two layers.
    blocks = torch.randn(2, 2, rows + 1, kv_heads, room, dims).to(
        device, dtype)
    before = blocks.clone()
    entries = torch.randperm(room)[:rows * tokens].view(rows, tokens)
    q = kernels.apply_rope_and_write(
        qkv, cos, sin, blocks[0, 1], blocks[1, 1], entries.to(device), heads,
        kv_heads)

    for row in range(rows):
        for token in range(tokens):
            parts = qkv[row, token].view(-1, dims)
            at = entries[row, token]
            angles = cos[row, token], sin[row, token]
            for head in range(heads):
                wanted = rotate(parts[head], *angles)
                assert error(q[row, token, head], wanted) < CLOSE[dtype]
            for head in range(kv_heads):
                wanted = rotate(parts[heads + head], *angles)
                found = blocks[0, 1, row, head, at]
                assert error(found, wanted) < CLOSE[dtype]
            assert torch.equal(blocks[1, 1, row, :, at],
                               parts[heads + kv_heads:])
            before[:, 1, row, :, at] = blocks[:, 1, row, :, at]
    assert torch.equal(blocks, before), 'something else was written'


def test_entries_outside_the_cache_go_nowhere(kernels, device):
    qkv = torch.randn(4, 1, 3 * 8).to(device)
    ones = torch.ones(4, 1, 8, device=device)
    entries = torch.tensor([[-1], [5], [2], [1 << 40]], device=device)
    for operators in (kernels, reference):
        keys, values = torch.zeros(2, 4, 1, 5, 8, device=device)
        operators.apply_rope_and_write(qkv, ones, ones, keys, values, entries,
                                       1, 1)
        for cache in (keys, values):
            assert cache[2, :, 2].count_nonzero() == 8
            assert cache.count_nonzero() == 8


def test_nothing_gives_nothing(kernels, device):
    none = torch.empty(0, 1, 24, device=device)
    assert kernels.rms_norm(none, none.new_ones(24), 1e-5).shape == none.shape
    assert kernels.silu_mul(none).shape == (0, 1, 12)
    cache = none.new_zeros(2, 1, 5, 8)
    q = kernels.apply_rope_and_write(
        none, none[..., :8], none[..., :8], cache, cache,
        none.new_empty(0, 1, dtype=torch.long), 1, 1)
    assert q.shape == (0, 1, 1, 8)
    lengths = none.new_empty(0, dtype=torch.long)
    assert kernels.decode_attention(q, cache, cache, lengths).shape == q.shape
