# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Products with weights of 8 bits on a CPU, by the compiled library.

Legend: R rows, I and O input and output channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .library import TYPES, instructions, run, threads

PANEL = 64  # outputs side by side
INPUTS = 4  # behind each other, of each of them
WHOLE = 16  # inputs are padded to multiples of it
ZERO = 128


def has_int8() -> bool:
    """Whether the library has such products for this CPU."""
    return instructions() == 'avx512vnni'


class Int8Panels:
    """A weight of 8 bits, as the instructions of a CPU read it.

    Args:
        weight: int8[O, I].
        scale: float[O], what one step of each row's weights is worth.
    """

    def __init__(self, weight: Tensor, scale: Tensor) -> None:
        self.shape = outputs, inputs = weight.shape
        more = -outputs % PANEL
        whole = F.pad(weight, (0, -inputs % WHOLE, 0, more))
        # int8[O / 64, I / 4, 64, 4]
        self.panels = whole.view(
            -1, PANEL, whole.shape[1] // INPUTS, INPUTS).transpose(
                1, 2).contiguous()
        self.shifts = ZERO * whole.sum(1, dtype=torch.int32)
        self.scale = F.pad(scale.float(), (0, more))

    def parts(self) -> tuple[Tensor, Tensor]:
        """The weight, int8[O, I], and the scales, float[O], made anew."""
        outputs, inputs = self.shape
        whole = self.panels.transpose(1, 2).reshape(len(self.shifts), -1)
        return (whole[:outputs, :inputs].contiguous(),
                self.scale[:outputs].clone())

    def product(self, rows: Tensor, outlier: float) -> Tensor:
        """The product with rows that are rounded to 8 bits.

        Args:
            rows: float[R, I].
            outlier: Numbers above it are multiplied apart.

        Returns:
            float[R, O].
        """
        dtype = rows.dtype
        if dtype not in TYPES:
            return self.product(rows.float(), outlier).to(dtype)
        rows = rows.contiguous()
        number, inputs = rows.shape
        out = rows.new_empty(number, self.shape[0])
        run('int8_linear', f'the rounding of {number} rows',
            rows.data_ptr(), number, inputs, self.shape[0],
            self.panels.data_ptr(), self.shifts.data_ptr(),
            self.scale.data_ptr(), outlier, out.data_ptr(),
            dtype is torch.bfloat16, threads(out.numel() * inputs))
        return out
