# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Kernels of a decode step on a GPU, written in Triton.

Each operator has a plain twin of the same name in :mod:`.plain`, which says
what it computes; the twin runs where the kernels don't work, and wherever a
gradient is wanted. None waits for the device.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch

from . import plain
from .support import supported, works

__all__ = [
    'add_rms_norm', 'decode_attention', 'plain', 'rms_norm',
    'rotate_and_write', 'silu_mul', 'supported', 'works'
]


def _by_kernel(twin: Callable) -> Callable:

    @functools.wraps(twin)
    def operator(x: torch.Tensor, *args, **kwargs):
        if not works(x.device, x.dtype) or torch.is_grad_enabled() and any(
                getattr(arg, 'requires_grad', False)
                for arg in (x, *args, *kwargs.values())):
            return twin(x, *args, **kwargs)
        from . import kernels

        # Triton launches on the current device.
        with torch.cuda.device_of(x):
            return getattr(kernels, twin.__name__)(x, *args, **kwargs)

    return operator


rms_norm = _by_kernel(plain.rms_norm)
add_rms_norm = _by_kernel(plain.add_rms_norm)
silu_mul = _by_kernel(plain.silu_mul)
rotate_and_write = _by_kernel(plain.rotate_and_write)
decode_attention = _by_kernel(plain.decode_attention)
