# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Attention of a few new tokens a row to the cache, split over its entries.

What it costs is the reading of keys and values, so each is read once, by a
program that all queries of its head share; a row is read as far as it is
long; and few long rows are split among programs until all multiprocessors
have work. A second pass merges the parts.

Legend: n rows, w tokens a row, H heads, K key-value heads, G = H / K, D width
of a head, C entries that a slot has room for, P parts of a row, Q = w * G
queries that share keys.
"""

import torch
import triton

from ..kernels.reference import MULTIPROCESSORS
from .attention_parts import LOG2E, attend_grouped, attend_single, merge_parts
from .support import LAUNCH, interpreting

# Programs that a multiprocessor should have: at D = 128 in 16 bits, they have
# 64 KiB of loads under way, where about 20 KiB hide the latency of an H100's
# memory.
RESIDENT = 2
# Shared memory for loads under way, bytes: smaller GPUs have little more.
UNDER_WAY = 65536
# Entries of a part, at least and at most. Fewer are read sooner than a second
# pass is started; with more, the longest row would be waited for.
LEAST, MOST = 64, 1024
MOST_PARTS = 64


def decode_attention(q: torch.Tensor, keys: torch.Tensor,
                     values: torch.Tensor, lengths: torch.Tensor,
                     bias: torch.Tensor | None = None,
                     scale: float | None = None,
                     multiprocessors: int = MULTIPROCESSORS) -> torch.Tensor:
    """See :func:`..kernels.reference.decode_attention`."""
    rows, tokens, heads, dims = q.shape
    num_kv_heads, room = keys.shape[1:3]
    shared = heads // num_kv_heads
    queries = tokens * shared
    q, lengths = q.contiguous(), lengths.contiguous()
    out = torch.empty_like(q)
    if not out.numel():
        return out
    if bias is not None:
        bias = bias.contiguous()
    parts = count_parts(rows * num_kv_heads, room, multiprocessors)
    if parts > 1:
        # float[n, K, P, Q, D], and the largest score and the sum of each
        mixed = q.new_empty(
            rows, num_kv_heads, parts, queries, dims, dtype=torch.float32)
        peaks, sums = mixed.new_empty(2, *mixed.shape[:-1])
    else:
        mixed = peaks = sums = q  # Not touched.
    # Tensor cores multiply 16 at least.
    width = max(triton.next_power_of_2(dims), 16)
    options = dict(
        K_ENTRY=keys.stride(2), V_ENTRY=values.stride(2), WHOLE=parts == 1,
        BIASED=bias is not None, LEAST=LEAST, KV_HEADS=num_kv_heads,
        TOKENS=tokens, SHARED=shared, DIMS=dims, WIDTH=width, num_warps=4,
        **LAUNCH)
    grid = [rows * num_kv_heads, parts]
    if queries == 1:
        kernel = attend_single
        if grid[0] * parts <= RESIDENT * multiprocessors:
            # Few programs: wide ones, which read a part at once.
            options['num_warps'] = 8
        # 32 elements of keys a thread, and 32 of values: in 16 bits, 8 loads
        # of 16 bytes a block.
        options['BLOCK'] = min(options['num_warps'] * 1024 // width, LEAST)
    else:
        kernel = attend_grouped
        # Tensor cores take 16 queries at least; what is missing is padding,
        # and costs no bytes. More in float32 would not fit the registers.
        most = 64 if q.element_size() <= 2 else 16
        size = min(max(triton.next_power_of_2(queries), 16), most)
        grid.append(triton.cdiv(queries, size))
        if size * width > 8192:
            options['num_warps'] = 8  # Or the mixture fills the registers.
        options.update(
            QUERIES=size, INTERPRETED=interpreting(),
            BLOCK=min(max(16384 // (width * keys.element_size()), 16), 64))
    # Keys and values of a block, of which two or one are loaded ahead.
    block = 2 * options['BLOCK'] * width * keys.element_size()
    options['STAGES'] = 3 if 2 * block <= UNDER_WAY else 2
    scale = (dims**-0.5 if scale is None else scale) * LOG2E.value
    kernel[tuple(grid)](
        q, keys, values, lengths, q if bias is None else bias, out, mixed,
        peaks, sums, *keys.stride()[:2], *values.stride()[:2], room, parts,
        scale, **options)
    if parts > 1:
        merge_parts[rows * num_kv_heads * queries, ](
            mixed, peaks, sums, lengths, out, room, PARTS=parts, LEAST=LEAST,
            BLOCK=options['BLOCK'], KV_HEADS=num_kv_heads, TOKENS=tokens,
            SHARED=shared, DIMS=dims, WIDTH=width, num_warps=4, **LAUNCH)
    return out


def count_parts(pairs: int, room: int, multiprocessors: int) -> int:
    """Into how many parts rows are split, from static shapes alone.

    Args:
        pairs: Rows times key-value heads.
        room: C.
        multiprocessors: Of the GPU.

    Returns:
        int: A power of two, so that a growing cache meets few kernels.
    """
    parts = max(triton.cdiv(RESIDENT * multiprocessors, pairs),
                triton.cdiv(room, MOST))
    parts = min(parts, triton.cdiv(room, LEAST), MOST_PARTS)
    return triton.next_power_of_2(max(parts, 1))
