# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Rotary positions and the writing of the cache, in one pass.

Legend: n rows, w tokens a row, H heads, K key-value heads, D width of a head,
C entries that a slot has room for.
"""

import torch
import triton
import triton.language as tl

from .support import LAUNCH

# Of one token, done by one warp: at D = 128 each of its threads reads 16
# bytes of either half of a head in 16 bits.
HEADS_TOGETHER = 4


def apply_rope_and_write(qkv: torch.Tensor, cos: torch.Tensor,
                         sin: torch.Tensor, keys: torch.Tensor,
                         values: torch.Tensor, entries: torch.Tensor,
                         num_heads: int, num_kv_heads: int) -> torch.Tensor:
    """See :func:`..kernels.reference.apply_rope_and_write`."""
    rows, tokens = entries.shape
    dims = keys.shape[-1]
    qkv, cos, sin = qkv.contiguous(), cos.contiguous(), sin.contiguous()
    q = qkv.new_empty(rows, tokens, num_heads, dims)
    if not q.numel():
        return q
    grid = (rows * tokens,
            triton.cdiv(num_heads + 2 * num_kv_heads, HEADS_TOGETHER))
    _apply_rope_and_write[grid](
        qkv, cos, sin, entries.contiguous(), q, keys, values,
        *keys.stride()[:2], *values.stride()[:2], keys.shape[2],
        K_ENTRY=keys.stride(2), V_ENTRY=values.stride(2),
        TOKENS=tokens, Q_HEADS=num_heads, KV_HEADS=num_kv_heads,
        HALF=dims // 2, BLOCK=triton.next_power_of_2(dims // 2),
        GROUP=HEADS_TOGETHER, num_warps=1, **LAUNCH)
    return q


@triton.jit
def _apply_rope_and_write(qkv, cos, sin, entries, q, keys, values, k_slot,
                          k_head, v_slot, v_head, room, K_ENTRY: tl.constexpr,
                          V_ENTRY: tl.constexpr, TOKENS: tl.constexpr,
                          Q_HEADS: tl.constexpr, KV_HEADS: tl.constexpr,
                          HALF: tl.constexpr, BLOCK: tl.constexpr,
                          GROUP: tl.constexpr):
    ALL: tl.constexpr = Q_HEADS + 2 * KV_HEADS
    token = tl.program_id(0).to(tl.int64)
    slot = token // TOKENS
    head = tl.program_id(1) * GROUP + tl.arange(0, GROUP)
    at = tl.arange(0, BLOCK)
    near = at < HALF
    inside = (head < ALL)[:, None] & near[None, :]

    table = token * (2 * HALF) + at
    cos_1 = tl.load(cos + table, mask=near, other=0).to(tl.float32)[None, :]
    cos_2 = tl.load(
        cos + table + HALF, mask=near, other=0).to(tl.float32)[None, :]
    sin_1 = tl.load(sin + table, mask=near, other=0).to(tl.float32)[None, :]
    sin_2 = tl.load(
        sin + table + HALF, mask=near, other=0).to(tl.float32)[None, :]
    # float[GROUP, BLOCK] each, the halves of heads
    here = qkv + (token * ALL + head[:, None]) * (2 * HALF) + at[None, :]
    first = tl.load(here, mask=inside, other=0)
    second = tl.load(here + HALF, mask=inside, other=0)
    turns = (head < Q_HEADS + KV_HEADS)[:, None]
    x_1, x_2 = first.to(tl.float32), second.to(tl.float32)
    first = tl.where(turns, (x_1 * cos_1 + x_2 * sin_1).to(first.dtype),
                     first)
    second = tl.where(turns, (x_2 * cos_2 + x_1 * sin_2).to(second.dtype),
                      second)

    asks = inside & (head < Q_HEADS)[:, None]
    there = q + (token * Q_HEADS + head[:, None]) * (2 * HALF) + at[None, :]
    tl.store(there, first, mask=asks)
    tl.store(there + HALF, second, mask=asks)

    entry = tl.load(entries + token).to(tl.int64)
    if (entry >= 0) & (entry < room):
        index = head - Q_HEADS
        fits = inside & ((index >= 0) & (index < KV_HEADS))[:, None]
        there = (keys + slot * k_slot + entry * K_ENTRY +
                 index.to(tl.int64)[:, None] * k_head + at[None, :])
        tl.store(there, first.to(keys.dtype.element_ty), mask=fits)
        tl.store(there + HALF, second.to(keys.dtype.element_ty), mask=fits)
        index = index - KV_HEADS
        fits = inside & (index >= 0)[:, None]
        there = (values + slot * v_slot + entry * V_ENTRY +
                 index.to(tl.int64)[:, None] * v_head + at[None, :])
        tl.store(there, first.to(values.dtype.element_ty), mask=fits)
        tl.store(there + HALF, second.to(values.dtype.element_ty), mask=fits)
