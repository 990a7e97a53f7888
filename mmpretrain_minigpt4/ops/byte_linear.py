# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Products with weights of a byte a number, for few tokens on a GPU.

Libraries unpack such a weight before they multiply, or bring the tokens to a
byte first; for few tokens either takes longer than reading the weight, which
is all that has to be done.

Legend: R tokens, I inputs, O outputs.
"""

from __future__ import annotations

import functools
import logging

import torch

from .triton import supported
from .triton.support import interpreting

# More are no longer bound by the reading of the weight.
MOST_ROWS = 16
TYPES = (torch.float32, torch.bfloat16, torch.float16)


def byte_linear(x: torch.Tensor, weight: torch.Tensor, scales: torch.Tensor
                ) -> torch.Tensor | None:
    """``x @ (weight * scales).T`` where a kernel does it, else None.

    Args:
        x: float[..., I].
        weight: int8[O, I] or float8[O, I].
        scales: float[O, 1], one for each row of the weight.

    Returns:
        float[..., O], or None for many tokens, on a CPU, or where the
        kernel does not work.
    """
    rows = x.numel() // x.shape[-1]
    if not (0 < rows <= MOST_ROWS and supported(x.device)
            and _works(x.device, x.dtype, weight.dtype, interpreting())):
        return None
    from .triton.byte_rows import byte_linear as kernel
    with torch.cuda.device_of(x):
        out = kernel(x.reshape(rows, -1), weight, scales.flatten())
    return out.unflatten(0, x.shape[:-1])


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
def _works(device: torch.device, dtype: torch.dtype, kind: torch.dtype,
           interpreted: bool) -> bool:
    """Whether the kernel gives what it should, tried once."""
    try:
        if dtype not in TYPES:
            return False
        from .triton.byte_rows import byte_linear as kernel
        draw = torch.Generator().manual_seed(0)
        with torch.inference_mode():
            x = torch.randn(3, 80, generator=draw).to(device, dtype)
            weight = (40 * torch.randn(24, 80, generator=draw)).to(
                kind).to(device)
            scales = torch.rand(24, generator=draw).to(device)
            torch.testing.assert_close(
                kernel(x, weight, scales), plain(x, weight, scales),
                rtol=2e-2, atol=2e-1)
    except Exception as error:  # whatever a driver or a compiler may raise
        logging.getLogger(__name__).warning(
            'Products with weights in %s go without a kernel on %s: %s', kind,
            device, ' '.join(str(error).split())[:300] or repr(error))
        return False
    return True
