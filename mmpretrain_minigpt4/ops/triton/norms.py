# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Norms of a decode step, each vector read once.

PyTorch makes several kernels of a norm that rounds as transformers does, and
each reads and writes the vectors again.

Legend: R vectors, E their width.
"""

import torch
import triton
import triton.language as tl

from .support import LAUNCH


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float
             ) -> torch.Tensor:
    """See :func:`..kernels.reference.rms_norm`."""
    return _launch(x, None, weight, eps)[0]


def add_rms_norm(x: torch.Tensor, residual: torch.Tensor,
                 weight: torch.Tensor, eps: float
                 ) -> tuple[torch.Tensor, torch.Tensor]:
    """See :func:`..kernels.reference.add_rms_norm`."""
    return _launch(x, residual, weight, eps)


def _launch(x: torch.Tensor, residual: torch.Tensor | None,
            weight: torch.Tensor, eps: float
            ) -> tuple[torch.Tensor, torch.Tensor]:
    width = x.shape[-1]
    x, weight = x.contiguous(), weight.contiguous()
    total = x
    if residual is not None:
        residual = residual.contiguous()
        total = torch.empty_like(
            x, dtype=torch.promote_types(x.dtype, residual.dtype))
    y = torch.empty_like(
        total, dtype=torch.promote_types(total.dtype, weight.dtype))
    if not x.numel():
        return y, total
    block = triton.next_power_of_2(width)
    # One program a vector, so that its square sum stays inside. 16 elements a
    # thread are two loads of 16 bytes in 16 bits.
    _norm[x.numel() // width, ](
        x, x if residual is None else residual, weight, y, total, eps,
        ADD=residual is not None, WIDTH=width, BLOCK=block,
        num_warps=min(max(block // 512, 1), 16), **LAUNCH)
    return y, total


@triton.jit
def _norm(x, residual, weight, y, total, eps, ADD: tl.constexpr,
          WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    inside = at < WIDTH
    # In 64 bits: R * E may pass 2^31.
    here = tl.program_id(0).to(tl.int64) * WIDTH + at
    scale = tl.load(weight + at, mask=inside, other=0)
    vector = tl.load(x + here, mask=inside, other=0)
    if ADD:
        other = tl.load(residual + here, mask=inside, other=0)
        vector = vector.to(tl.float32) + other.to(tl.float32)
        # What is normed is the sum as it is kept.
        vector = vector.to(total.dtype.element_ty)
        tl.store(total + here, vector, mask=inside)
    wide = vector.to(tl.float32)
    mean = tl.sum(wide * wide, axis=0) / WIDTH
    wide = wide * tl.rsqrt(mean + eps)
    rounded = wide.to(vector.dtype).to(tl.float32)
    out = scale.to(tl.float32) * rounded
    tl.store(y + here, out.to(y.dtype.element_ty), mask=inside)
