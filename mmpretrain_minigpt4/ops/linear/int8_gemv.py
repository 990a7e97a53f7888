# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Products with weights of a byte a number, for few tokens.

Libraries unpack such a weight before they multiply, or bring the tokens to a
byte first; for few tokens either takes longer than reading the weight, which
is all that has to be done.

Legend: R tokens, I inputs, O outputs.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable

import torch

from .. import kernels
from ..kernels.selftest import difference
from ..native import int8_gemv as native

# More are no longer bound by the reading of the weight.
MOST_ROWS = {'triton': 16, 'native': 8}
TYPES = (torch.float32, torch.bfloat16, torch.float16)


def int8_gemv(x: torch.Tensor, weight: torch.Tensor, scales: torch.Tensor
              ) -> torch.Tensor | None:
    """``x @ (weight * scales).T`` where a kernel does it, else None.

    Args:
        x: float[..., I].
        weight: int8[O, I] or float8[O, I].
        scales: float[O, 1], one for each row of the weight.

    Returns:
        float[..., O], or None for many tokens, or where no kernel works.
    """
    rows = x.numel() // x.shape[-1]
    kind = kernels.backend(x.device)
    if kind is None or not 0 < rows <= MOST_ROWS[kind]:
        return None
    if kind == 'native' and not (native.suits(x, weight)
                                 and kernels.available(x.device, x.dtype)):
        return None
    if not _works(kind, x.device, x.dtype, weight.dtype):
        return None
    with torch.cuda.device_of(x):
        out = _kernel(kind)(x.reshape(rows, -1), weight, scales.flatten())
    return out.unflatten(0, x.shape[:-1])


def _kernel(kind: str) -> Callable:
    if kind == 'native':
        return native.int8_gemv
    from ..triton.int8_gemv import int8_gemv as kernel
    return kernel


def plain(x: torch.Tensor, weight: torch.Tensor, scales: torch.Tensor
          ) -> torch.Tensor:
    """The same in plain PyTorch, summed in float32.

    Args:
        x: float[R, I].
        weight: int8[O, I] or float8[O, I].
        scales: float[O].
    """
    return (x.float() @ weight.float().t() * scales.float()).to(x.dtype)


@functools.cache
def _works(kind: str, device: torch.device, dtype: torch.dtype,
           of_weight: torch.dtype) -> bool:
    """Whether the kernel gives what it should, tried once."""
    try:
        if dtype not in TYPES:
            return False
        kernel = _kernel(kind)
        draw = torch.Generator().manual_seed(0)
        with torch.inference_mode():
            x = torch.randn(3, 80, generator=draw).to(device, dtype)
            weight = (40 * torch.randn(24, 80, generator=draw)).to(
                of_weight).to(device)
            scales = torch.rand(24, generator=draw).to(device)
            reason = difference(kernel(x, weight, scales),
                                plain(x, weight, scales), 0.1)
            if reason:
                raise ArithmeticError(reason)
    except Exception as error:  # whatever a driver or a compiler may raise
        logging.getLogger(__name__).warning(
            'Products with weights in %s go without a kernel on %s: %s',
            of_weight, device,
            ' '.join(str(error).split())[:300] or repr(error))
        return False
    return True
