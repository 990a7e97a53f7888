# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Products with weights of a byte a number on a CPU, widened part by part.

A whole weight, widened, is several times what the caches hold, and memory
that is asked for and given back at each call: that takes longer than the
product.

Legend: R tokens, I inputs, O outputs.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F

from .prepacked import can_prepack

NUMBERS = 1 << 21  # of a part


def product(x: torch.Tensor, weight: torch.Tensor, scales: torch.Tensor
            ) -> torch.Tensor:
    """``x @ (weight * scales).T``.

    Args:
        x: float[..., I].
        weight: int8[O, I].
        scales: float[O, 1], one for each row of the weight.

    Returns:
        float[..., O], of x's type.
    """
    rows = x.reshape(-1, x.shape[-1]).contiguous()  # float[R, I]
    out = rows.new_empty(len(rows), len(weight))
    fast = can_prepack(x.dtype)
    for part in _parts(weight):
        # Integers of 8 bits are exact in either type.
        wide = weight[part].to(x.dtype)
        out[:, part] = torch.ops.mkldnn._linear_pointwise(
            rows, wide, None, 'none', [], '') if fast else F.linear(rows,
                                                                    wide)
    out *= scales.flatten().to(out)
    return out.view(*x.shape[:-1], -1)


def gradient(grad: torch.Tensor, weight: torch.Tensor, scales: torch.Tensor
             ) -> torch.Tensor:
    """``grad @ (weight * scales)``: what :func:`product` passes back to x.

    Args:
        grad: float[..., O].
        weight: int8[O, I].
        scales: float[O, 1].

    Returns:
        float[..., I].
    """
    rows = (grad * scales.flatten().to(grad)).reshape(-1, grad.shape[-1])
    out = rows.new_zeros(len(rows), weight.shape[1])
    for part in _parts(weight):
        out.addmm_(rows[:, part], weight[part].to(rows.dtype))
    return out.view(*grad.shape[:-1], -1)


def _parts(weight: torch.Tensor) -> Iterator[slice]:
    """Rows of a weight that are widened together."""
    step = max(1, NUMBERS // weight.shape[1])
    for start in range(0, len(weight), step):
        yield slice(start, start + step)
