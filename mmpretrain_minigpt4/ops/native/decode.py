# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The operators of a decode step on a CPU, by the compiled library.

Each computes what its namesake in :mod:`..kernels.reference` computes, which
also runs where tensors have a type or a layout that the library does not know.
"""

from __future__ import annotations

import torch

from ..kernels import reference
from .library import TYPES, function, run, threads

# Numbers to be read or written; fewer are not worth a second thread.
MANY = 1 << 16


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float
             ) -> torch.Tensor:
    """See :func:`..kernels.reference.rms_norm`."""
    if weight.dtype != x.dtype or x.dtype not in TYPES:
        return reference.rms_norm(x, weight, eps)
    return _norm(x.contiguous(), None, weight.contiguous(), eps)[0]


def add_rms_norm(x: torch.Tensor, residual: torch.Tensor,
                 weight: torch.Tensor, eps: float
                 ) -> tuple[torch.Tensor, torch.Tensor]:
    """See :func:`..kernels.reference.add_rms_norm`."""
    if not weight.dtype == x.dtype == residual.dtype or x.dtype not in TYPES:
        return reference.add_rms_norm(x, residual, weight, eps)
    return _norm(x.contiguous(), residual.contiguous(), weight.contiguous(),
                 eps)


def _norm(x: torch.Tensor, residual: torch.Tensor | None,
          weight: torch.Tensor, eps: float
          ) -> tuple[torch.Tensor, torch.Tensor]:
    out, total = torch.empty_like(x), x
    other = kept = None
    if residual is not None:
        total = torch.empty_like(x)
        other, kept = residual.data_ptr(), total.data_ptr()
    size, width = x.numel(), x.shape[-1]
    function('rms_norm')(
        x.data_ptr(), other, weight.data_ptr(), eps,
        size // width, width, out.data_ptr(), kept,
        x.dtype is torch.bfloat16, threads(size, MANY))
    return out, total


def silu_mul(gate_up: torch.Tensor) -> torch.Tensor:
    """See :func:`..kernels.reference.silu_mul`."""
    if gate_up.dtype not in TYPES:
        return reference.silu_mul(gate_up)
    gate_up = gate_up.contiguous()
    *shape, double = gate_up.shape
    out = gate_up.new_empty(*shape, double // 2)
    size = out.numel()
    if size:
        function('silu_mul')(
            gate_up.data_ptr(), 2 * size // double, double // 2,
            out.data_ptr(), out.dtype is torch.bfloat16,
            threads(2 * size, MANY))
    return out


def apply_rope_and_write(qkv: torch.Tensor, cos: torch.Tensor,
                         sin: torch.Tensor, keys: torch.Tensor,
                         values: torch.Tensor, entries: torch.Tensor,
                         num_heads: int, num_kv_heads: int) -> torch.Tensor:
    """See :func:`..kernels.reference.apply_rope_and_write`."""
    dtype = qkv.dtype
    if dtype not in TYPES or not _known(dtype, keys, values):
        return reference.apply_rope_and_write(qkv, cos, sin, keys, values,
                                              entries, num_heads, num_kv_heads)
    rows, tokens = entries.shape
    slot, head, width, _ = keys.stride()
    qkv, entries = qkv.contiguous(), entries.contiguous()
    cos, sin = cos.to(dtype).contiguous(), sin.to(dtype).contiguous()
    q = qkv.new_empty(rows, tokens, num_heads, width)
    function('apply_rope_and_write')(
        qkv.data_ptr(), cos.data_ptr(), sin.data_ptr(), keys.data_ptr(),
        values.data_ptr(), entries.data_ptr(), q.data_ptr(), rows * tokens,
        tokens, num_heads, num_kv_heads, width, keys.shape[2], slot, head,
        dtype is torch.bfloat16, threads(qkv.numel(), MANY))
    return q


def decode_attention(q: torch.Tensor, keys: torch.Tensor,
                     values: torch.Tensor, lengths: torch.Tensor,
                     bias: torch.Tensor | None = None,
                     scale: float | None = None,
                     multiprocessors: int = 0) -> torch.Tensor:
    """See :func:`..kernels.reference.decode_attention`."""
    dtype = q.dtype
    if dtype not in TYPES or not _known(dtype, keys, values):
        return reference.decode_attention(
            q, keys, values, lengths, bias, scale)
    rows, tokens, heads, width = q.shape
    num_kv_heads, room = keys.shape[1:3]
    slot, head = keys.stride()[:2]
    q, lengths = q.contiguous(), lengths.contiguous()
    bias_at, bias_row, bias_token = None, 0, 0
    if bias is not None:
        bias = bias.to(dtype)
        if bias.stride(2) != 1:
            bias = bias.contiguous()
        bias_at, (bias_row, bias_token, _) = bias.data_ptr(), bias.stride()
    out = torch.empty_like(q)
    run('decode_attention', 'the scores of a decode step',
        q.data_ptr(), keys.data_ptr(), values.data_ptr(), lengths.data_ptr(),
        bias_at, bias_row, bias_token, out.data_ptr(), rows, tokens, heads,
        num_kv_heads, width, room, slot, head,
        width**-0.5 if scale is None else scale, dtype is torch.bfloat16,
        threads(rows * num_kv_heads * room * width, MANY))
    return out


def _known(dtype: torch.dtype, keys: torch.Tensor, values: torch.Tensor
           ) -> bool:
    """Whether both parts of a cache lie as the library expects."""
    strides = keys.stride()
    return (keys.dtype == dtype and values.dtype == dtype
            and values.stride() == strides and strides[3] == 1
            and strides[2] == keys.shape[3])
