# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Attention, by whichever way is the faster one for a type and a device.

Legend: B rows, H heads, K key-value heads, T queries, N keys, D width of a
head.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F


def attention(q: torch.Tensor,
              k: torch.Tensor,
              v: torch.Tensor,
              bias: torch.Tensor | None = None,
              causal: bool = False,
              dropout: float = 0.0) -> torch.Tensor:
    """Mix values by how well their keys fit the queries.

    The fused operator is slower than its parts for bfloat16 on CPUs.

    Args:
        q: float[B, H, T, D].
        k: float[B, K, N, D]; K divides H.
        v: float[B, K, N, D].
        bias: Added to the scores, broadcast to float[B, H, T, N].
        causal: Query t sees keys 0 to t; without ``bias`` only.
        dropout: Probability of dropping a weight.

    Returns:
        float[B, H, T, D].
    """
    groups = q.shape[1] != k.shape[1]
    plain = (q.dtype == torch.bfloat16 and q.device.type == 'cpu'
             and not (groups or causal or dropout)
             and not (torch.is_grad_enabled() and q.requires_grad))
    if not plain:
        return F.scaled_dot_product_attention(
            q, k, v, attn_mask=bias, dropout_p=dropout, is_causal=causal,
            enable_gqa=groups)
    # float[B, H, T, D] x float[B, H, D, N] -> float[B, H, T, N]
    scores = torch.matmul(q * q.shape[-1]**-0.5, k.transpose(-1, -2))
    if bias is not None:
        scores = scores + bias
    return torch.matmul(scores.softmax(-1), v)
