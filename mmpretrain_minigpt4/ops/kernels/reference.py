# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""What each kernel computes, in plain PyTorch.

These are the reference of the kernels' tests, and what runs where there is no
Triton. They neither wait for the device nor allocate by values, so a CUDA
graph can hold them too.

Legend: n rows, w tokens a row (its beams), S slots of the cache, H heads, K
key-value heads, G = H / K heads that share one, D width of a head, C entries
that a slot has room for, E width of the model, M width inside the MLP.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

# Streaming multiprocessors of an H100 SXM.
MULTIPROCESSORS = 132


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float
             ) -> torch.Tensor:
    """Divide each vector by its root mean square, then scale it.

    As LlamaRMSNorm of transformers does: all in float32 up to the division,
    rounded there, then the product with the weight.

    Args:
        x: float[..., E].
        weight: float[E].
        eps: Added to the mean square.

    Returns:
        float[..., E].
    """
    wide = x.float()
    wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
    return weight * wide.to(x.dtype)


def add_rms_norm(x: torch.Tensor, residual: torch.Tensor,
                 weight: torch.Tensor, eps: float
                 ) -> tuple[torch.Tensor, torch.Tensor]:
    """Add, and norm what came out, see :func:`rms_norm`.

    Args:
        x: float[..., E].
        residual: float[..., E].
        weight: float[E].
        eps: Added to the mean square.

    Returns:
        tuple: The norm and the sum, float[..., E] each.
    """
    total = x + residual
    return rms_norm(total, weight, eps), total


def silu_mul(gate_up: torch.Tensor) -> torch.Tensor:
    """SiLU of the first half, times the second half.

    Args:
        gate_up: float[..., 2 * M], the gate first.

    Returns:
        float[..., M].
    """
    gate, up = gate_up.chunk(2, dim=-1)
    return F.silu(gate) * up


def apply_rope_and_write(qkv: torch.Tensor, cos: torch.Tensor,
                         sin: torch.Tensor, keys: torch.Tensor,
                         values: torch.Tensor, entries: torch.Tensor,
                         num_heads: int, num_kv_heads: int) -> torch.Tensor:
    """Rotate queries and keys, and put keys and values into the cache.

    Element i of a head is turned with element i + D / 2 (modulo D). The
    product is made in float32 and rounded once.

    Args:
        qkv: float[n, w, (H + 2 * K) * D]: queries, keys, values.
        cos: float[n, w, D].
        sin: float[n, w, D], the sign of its first half changed.
        keys: float[S, K, C, D] with S >= n, one layer of the cache, written
            in place: row i is slot i.
        values: float[S, K, C, D], likewise.
        entries: int[n, w] on the device, where each token goes in its slot.
            Those outside 0 to C - 1 go nowhere. No two of a row are the
            same.
        num_heads: H.
        num_kv_heads: K.

    Returns:
        float[n, w, H, D], the rotated queries.
    """
    rows, tokens = entries.shape
    room = keys.shape[2]
    # float[n, w, (H + 2 * K) * D] -> float[n, w, H + 2 * K, D]
    heads = qkv.unflatten(-1, (num_heads + 2 * num_kv_heads, -1))
    turned, v = heads.split(
        (num_heads + num_kv_heads, num_kv_heads), dim=2)
    wide = turned.float()
    wide = torch.addcmul(
        wide * cos.float().unsqueeze(2),
        wide.roll(turned.shape[-1] // 2, -1), sin.float().unsqueeze(2))
    q, k = wide.to(qkv.dtype).split((num_heads, num_kv_heads), dim=2)
    slots = torch.arange(rows, device=entries.device)
    for token in range(tokens):
        at = entries[:, token]
        inside = ((at >= 0) & (at < room)).view(rows, 1, 1)
        at = at.clamp(0, room - 1)
        for cache, new in ((keys, k), (values, v)):
            # Indices around a slice bring their axes to the front:
            # float[n, K, D].
            cache[slots, :, at] = torch.where(
                inside, new[:, token].to(cache.dtype), cache[slots, :, at])
    return q


def decode_attention(q: torch.Tensor, keys: torch.Tensor,
                     values: torch.Tensor, lengths: torch.Tensor,
                     bias: torch.Tensor | None = None,
                     scale: float | None = None,
                     multiprocessors: int = MULTIPROCESSORS) -> torch.Tensor:
    """Attention of a few new tokens a row to what its slot holds.

    A token that sees nothing gets zeros.

    Args:
        q: float[n, w, H, D].
        keys: float[S, K, C, D] with S >= n and K that divides H; row i is
            slot i, and heads G * k to G * k + G - 1 read key head k.
        values: float[S, K, C, D].
        lengths: int[n] on the device: row i sees entries 0 to
            lengths[i] - 1. What is behind need not be the kernel's business,
            but must be finite here.
        bias: float[n, w, C], 0 or minus infinity, added to the scores.
        scale: Of the scores; by default D^-0.5.
        multiprocessors: Of the GPU, for the kernel to split its work by.

    Returns:
        float[n, w, H, D].
    """
    rows, tokens, _, dims = q.shape
    num_kv_heads, room = keys.shape[1:3]
    seen = torch.arange(room, device=q.device) < lengths.unsqueeze(1)
    # bool[n, C] -> float[n, 1, C] or float[n, w, C]
    mask = torch.zeros(
        rows, 1, room, dtype=q.dtype, device=q.device) if bias is None else (
            bias.to(q.dtype))
    mask = mask.masked_fill(~seen.unsqueeze(1), -torch.inf)
    blind = (mask == -torch.inf).all(-1)  # bool[n, 1 or w]
    # float[n, w, K * G, D] -> float[n, K, w, G, D] -> float[n, K, w * G, D]
    grouped = q.unflatten(2, (num_kv_heads, -1)).transpose(1, 2)
    groups = grouped.shape[3]
    # float[n, 1 or w, C] -> float[n, 1, w * G, C]
    mask = mask.unsqueeze(2).expand(rows, tokens, groups, room)
    mask = mask.flatten(1, 2).unsqueeze(1)
    mixed = F.scaled_dot_product_attention(
        grouped.flatten(2, 3), keys[:rows].to(q.dtype),
        values[:rows].to(q.dtype), attn_mask=mask, scale=scale)
    # float[n, K, w * G, D] -> float[n, w, K * G, D]
    mixed = mixed.unflatten(2, (tokens, groups)).transpose(1, 2).flatten(2, 3)
    return mixed.masked_fill(blind.view(rows, -1, 1, 1), 0)
