# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The gate inside the MLP, in one pass over its halves.

Legend: R vectors, M width inside the MLP.
"""

import torch
import triton
import triton.language as tl

from .support import LAUNCH

# 8 elements a thread of 4 warps: loads of 16 bytes in 16 bits, and enough
# programs for a single vector (11 at 11,008) to be spread.
BLOCK = 1024


def silu_mul(gate_up: torch.Tensor) -> torch.Tensor:
    """See :func:`..kernels.reference.silu_mul`."""
    width = gate_up.shape[-1] // 2
    gate_up = gate_up.contiguous()
    out = gate_up.new_empty(*gate_up.shape[:-1], width)
    if out.numel():
        grid = out.numel() // width, triton.cdiv(width, BLOCK)
        _silu_mul[grid](
            gate_up, out, WIDTH=width, BLOCK=BLOCK, num_warps=4, **LAUNCH)
    return out


@triton.jit
def _silu_mul(gate_up, out, WIDTH: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = at < WIDTH
    here = gate_up + row * (2 * WIDTH) + at
    gate = tl.load(here, mask=inside, other=0)
    up = tl.load(here + WIDTH, mask=inside, other=0)
    wide = gate.to(tl.float32)
    # Rounded before the product, as in PyTorch.
    silu = (wide / (1 + tl.exp(-wide))).to(gate.dtype).to(tl.float32)
    product = silu * up.to(tl.float32)
    tl.store(out + row * WIDTH + at, product.to(gate.dtype), mask=inside)
