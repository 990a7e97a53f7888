# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Attention of many queries on a CPU, by the compiled library."""

from __future__ import annotations

import ctypes

import torch

from .library import run, threads


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor,
              before: torch.Tensor | None = None) -> torch.Tensor:
    """Mix values by how well their keys fit the queries.

    All sums are made in float32, and softmax over all keys at once.

    Args:
        q: float[B, H, T, D], float32 or bfloat16.
        k: float[B, K, N, D] of its type; K divides H.
        v: float[B, K, N, D], likewise.
        before: int[B]: query t of row b sees keys 0 to t + before[b]. By
            default all see all.

    Returns:
        float[B, H, T, D], laid out as float[B, T, H, D].
    """
    batch, heads, queries, width = q.shape
    num_kv_heads, keys = k.shape[1:3]
    q, k, v = (x if x.stride(3) == 1 else x.contiguous() for x in (q, k, v))
    out = q.new_empty(batch, queries, heads, width)
    if before is not None:
        before = before.contiguous()
    strides = (ctypes.c_int64 * 9)(
        *q.stride()[:3], *k.stride()[:3], *v.stride()[:3])
    work = batch * heads * queries * keys * width
    run('attention', f'attention to {keys} keys',
        q.data_ptr(), k.data_ptr(), v.data_ptr(), out.data_ptr(), batch,
        heads, num_kv_heads, queries, keys, width, ctypes.addressof(strides),
        None if before is None else before.data_ptr(), width**-0.5,
        q.dtype is torch.bfloat16,
        threads(work))
    return out.transpose(1, 2)
