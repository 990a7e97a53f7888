# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""A few tokens times a weight of a byte a number.

What it costs is the reading of the weight, once, so the tokens are brought to
the tensor cores as they are, 16 at a time with what is missing as padding, and
the weight is widened on its way: both int8 and float8 fit 16 bits exactly.

Legend: R tokens, I inputs (DEEP), O outputs (WIDE).
"""

import torch
import triton
import triton.language as tl

from .attention_parts import product
from .support import LAUNCH, interpreting

# Tokens of a tile of the tensor cores; more take another way.
ROWS = 16
# 16 weights' rows a program are 256 programs for 4,096 of them, two for each
# multiprocessor of an H100; with 4 stages of 4 KiB each has 16 KiB under way.
OUTPUTS, INPUTS, STAGES = 16, 256, 4


def int8_gemv(x: torch.Tensor, weight: torch.Tensor, scales: torch.Tensor
              ) -> torch.Tensor:
    """See :func:`..linear.int8_gemv.plain`."""
    x, scales = x.contiguous(), scales.contiguous()
    rows, inputs = x.shape
    outputs = len(weight)
    out = x.new_empty(rows, outputs)
    if out.numel():
        _int8_gemv[triton.cdiv(outputs, OUTPUTS), ](
            x, weight.contiguous(), scales, out, rows, WIDE=outputs,
            DEEP=inputs, ROWS=ROWS, OUTPUTS=OUTPUTS, INPUTS=INPUTS,
            STAGES=STAGES,
            INTERPRETED=interpreting(), num_warps=4, **LAUNCH)
    return out


@triton.jit
def _int8_gemv(x, weight, scales, out, rows, WIDE: tl.constexpr,
               DEEP: tl.constexpr, ROWS: tl.constexpr,
               OUTPUTS: tl.constexpr, INPUTS: tl.constexpr,
               STAGES: tl.constexpr, INTERPRETED: tl.constexpr):
    row = tl.arange(0, ROWS)
    output = tl.program_id(0) * OUTPUTS + tl.arange(0, OUTPUTS)
    there, wanted = output < WIDE, row < rows
    total = tl.zeros([OUTPUTS, ROWS], tl.float32)
    place = output.to(tl.int64)[:, None] * DEEP
    for start in tl.range(0, DEEP, INPUTS, num_stages=STAGES):
        at = start + tl.arange(0, INPUTS)
        inside = at < DEEP
        part = tl.load(weight + place + at[None, :],
                       mask=there[:, None] & inside[None, :], other=0.0)
        # float[INPUTS, ROWS]
        token = tl.load(x + row[None, :] * DEEP + at[:, None],
                        mask=wanted[None, :] & inside[:, None], other=0)
        # float[OUTPUTS, INPUTS] x float[INPUTS, ROWS]
        part = part.to(tl.float32).to(token.dtype)
        total = product(part, token, total, INTERPRETED)
    total *= tl.load(scales + output, mask=there, other=0).to(
        tl.float32)[:, None]
    tl.store(out + row[None, :] * WIDE + output[:, None],
             total.to(out.dtype.element_ty),
             mask=there[:, None] & wanted[None, :])
