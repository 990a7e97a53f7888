# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Attention, by whichever way is the faster one for a type and a device.

Legend: B rows, H heads, K key-value heads, T queries, N keys, D width of a
head.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from . import kernels
from .linear.prepacked import can_prepack
from .native.attention import attention as by_kernel

# From so many queries and keys on, one thread is faster head by head; several
# share the heads of the fused operator.
MANY = 192


def attention(q: torch.Tensor,
              k: torch.Tensor,
              v: torch.Tensor,
              bias: torch.Tensor | None = None,
              causal: bool = False,
              dropout: float = 0.0,
              before: torch.Tensor | None = None) -> torch.Tensor:
    """Mix values by how well their keys fit the queries.

    On CPUs a kernel of our own is the fastest. Without it, the fused operator
    is slower than its parts for bfloat16, and for single queries of several
    rows; single queries in bfloat16 are best computed in float32, which their
    keys are widened to; and one thread sees whole images best head by head,
    whose products oneDNN does faster.

    Args:
        q: float[B, H, T, D].
        k: float[B, K, N, D]; K divides H.
        v: float[B, K, N, D].
        bias: Added to the scores, broadcast to float[B, H, T, N].
        causal: Query t sees keys 0 to t; without ``bias`` only.
        dropout: Probability of dropping a weight.
        before: int[B], instead of ``bias`` and ``causal``: query t of row b
            sees keys 0 to t + before[b].

    Returns:
        float[B, H, T, D].
    """
    if bias is None and not dropout and _kernel_suits(q, k, v):
        if causal:
            before = torch.zeros(len(q), dtype=torch.long)
        return by_kernel(q, k, v, before)
    if before is not None:
        bias = hide_later(before, q.shape[2], k.shape[2], q.dtype)
    groups = q.shape[1] != k.shape[1]
    special = groups or causal or dropout
    if (q.device.type != 'cpu' or torch.is_grad_enabled() and q.requires_grad
            or special):
        return F.scaled_dot_product_attention(
            q, k, v, attn_mask=bias, dropout_p=dropout, is_causal=causal,
            enable_gqa=groups)
    short, narrow = q.shape[2] == 1, q.dtype == torch.bfloat16
    if short and narrow:
        wide = attention(q.float(), k.float(), v.float(),
                         None if bias is None else bias.float())
        return wide.to(q.dtype)
    if (not narrow and bias is None and min(q.shape[2], k.shape[2]) >= MANY
            and torch.get_num_threads() == 1 and can_prepack(q.dtype)):
        return _head_by_head(q, k, v)
    if not narrow and not (short and q.shape[0] >= 4):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    # float[B, H, T, D] x float[B, H, D, N] -> float[B, H, T, N]
    scores = torch.matmul(q * q.shape[-1]**-0.5, k.transpose(-1, -2))
    if bias is not None:
        scores = scores + bias
    return torch.matmul(scores.softmax(-1), v)


def hide_later(before: torch.Tensor, queries: int, keys: int,
               dtype: torch.dtype) -> torch.Tensor:
    """A bias by which query t of row b sees keys 0 to t + before[b].

    Args:
        before: int[B].
        queries: T.
        keys: N.
        dtype: Of the bias.

    Returns:
        float[B, 1, T, N], 0 or minus infinity.
    """
    places = torch.arange(keys, device=before.device)
    last = before.view(-1, 1, 1, 1) + places[:queries].view(-1, 1)
    return torch.zeros(
        len(before), 1, queries, keys, dtype=dtype,
        device=before.device).masked_fill_(places > last, -torch.inf)


def _kernel_suits(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor
                  ) -> bool:
    # A single query would not make up for the laying out of the keys.
    return (q.device.type == 'cpu' and q.shape[2] > 1 and k.shape[2] > 0
            and q.dtype == k.dtype == v.dtype
            and not (torch.is_grad_enabled() and (
                q.requires_grad or k.requires_grad or v.requires_grad))
            and kernels.available(q.device, q.dtype) == 'native')


def _head_by_head(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor
                  ) -> torch.Tensor:
    product = torch.ops.mkldnn._linear_pointwise
    scale = q.shape[-1]**-0.5
    # float[B, T, H, D], which most callers go on with
    out = torch.empty_like(q.transpose(1, 2),
                           memory_format=torch.contiguous_format)
    for i, row in enumerate(zip(q, k, v, strict=True)):
        for j, (queries, keys, values) in enumerate(zip(*row, strict=True)):
            # What takes the place of a weight has to be contiguous.
            scores = product((queries * scale).contiguous(),
                             keys.contiguous(), None, 'none', [], '')
            out[i, :, j] = product(scores.softmax(-1),
                                   values.t().contiguous(), None, 'none',
                                   [], '')
    return out.transpose(1, 2)
