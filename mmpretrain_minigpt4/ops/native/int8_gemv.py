# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Products of a few rows with weights of 8 bits as they were saved, on a CPU,
by the compiled library."""

from __future__ import annotations

import torch

from .library import TYPES, run, threads


def int8_gemv(x: torch.Tensor, weight: torch.Tensor, scales: torch.Tensor
              ) -> torch.Tensor:
    """``x @ (weight * scales).T``, summed in float32.

    Args:
        x: float[R, I], float32 or bfloat16.
        weight: int8[O, I], contiguous.
        scales: float[O].

    Returns:
        float[R, O], of x's type.
    """
    x, scales = x.contiguous(), scales.float().contiguous()
    outputs, inputs = weight.shape
    out = x.new_empty(len(x), outputs)
    run('int8_gemv', f'{len(x)} rows',
        x.data_ptr(), len(x), inputs, outputs, weight.data_ptr(),
        scales.data_ptr(), out.data_ptr(), x.dtype is torch.bfloat16,
        threads(weight.numel()))
    return out


def suits(x: torch.Tensor, weight: torch.Tensor) -> bool:
    """Whether the library can read these, once it is there."""
    return (x.dtype in TYPES and weight.dtype == torch.int8
            and weight.is_contiguous())
