# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Where the kernels can run, and whether they run rightly there."""

from __future__ import annotations

import functools
import importlib.util
import logging
import os

import torch

from . import plain

TYPES = (torch.float32, torch.bfloat16, torch.float16)
# Of every launch: sums and products fused, which Triton 3.9 warns of unsaid.
LAUNCH = dict(enable_fp_fusion=True)
# Oldest NVIDIA architecture that has bfloat16, as (major, minor).
OLDEST = (8, 0)


def supported(device: torch.device | str) -> bool:
    """Whether kernels can be tried on a device.

    That is a CUDA device with Triton, or any device in Triton's interpreter
    mode (``TRITON_INTERPRET=1``), which is slow and for tests.
    """
    device = torch.device(device)
    if device.type != 'cuda':
        return interpreting() and _has_triton()
    return _has_triton() and (torch.version.hip is not None or
                              torch.cuda.get_device_capability(device)
                              >= OLDEST)


def works(device: torch.device | str, dtype: torch.dtype) -> bool:
    """Whether every kernel gives what its plain twin gives.

    Tried out once for a device and a type, which takes seconds the first
    time; so ask before a CUDA graph is captured. Where a kernel cannot be
    built or gives something else, one warning names the reason.
    """
    device = torch.device(device)
    return dtype in TYPES and supported(device) and _passes(
        device, dtype, interpreting())


def interpreting() -> bool:
    """Whether Triton is told to run kernels in Python."""
    return os.environ.get('TRITON_INTERPRET', '0').lower() in (
        '1', 'true', 'on', 'yes')


@functools.cache
def _has_triton() -> bool:
    return importlib.util.find_spec('triton') is not None


@functools.cache
def _passes(device: torch.device, dtype: torch.dtype, interpreted: bool
            ) -> bool:
    name = 'importing Triton'
    try:
        with torch.inference_mode(), torch.device(device):
            from . import kernels
            for name, tensors, rest in _trials(dtype):
                found = _run(getattr(kernels, name), tensors, rest)
                wanted = _run(getattr(plain, name), tensors, rest)
                reason = _difference(found, wanted, dtype)
                if reason:
                    raise ArithmeticError(reason)
    except Exception as error:  # Whatever a driver or a compiler may raise.
        logging.getLogger(__name__).warning(
            'decoding on %s in %s goes without kernels: %s failed: %s', device,
            dtype, name, ' '.join(str(error).split())[:300] or repr(error))
        return False
    return True


def _trials(dtype: torch.dtype):
    """Small arguments of each kernel: tensors to copy, and the rest."""
    draw = torch.Generator('cpu').manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        # Drawn on the CPU, then sent to the default device.
        x = torch.randn(shape, generator=draw, device='cpu')
        return x.to(dtype).to(torch.get_default_device())

    x, other, weight = random(3, 96), random(3, 96), random(96)
    yield 'rms_norm', (x, weight), (1e-5, )
    yield 'add_rms_norm', (x, other, weight), (1e-5, )
    yield 'silu_mul', (x, ), ()
    rows, heads, kv_heads, room, dims = 2, 4, 2, 150, 80
    keys, values = (random(rows, kv_heads, room, dims) for _ in range(2))
    turns = random(rows, 1, dims), random(rows, 1, dims)
    entries = torch.tensor([[3], [140]])
    yield 'rotate_and_write', (
        random(rows, 1, (heads + 2 * kv_heads) * dims), *turns, keys, values,
        entries), (heads, kv_heads)
    lengths = torch.tensor([7, 141])
    bias = torch.zeros(rows, 2, room).masked_fill(
        torch.arange(room) % 3 == 0, -torch.inf)
    yield 'decode_attention', (
        random(rows, 1, kv_heads, dims), keys, values, lengths), ()
    yield 'decode_attention', (
        random(rows, 2, heads, dims), keys, values, lengths, bias), ()


def _run(function, tensors: tuple, rest: tuple) -> list[torch.Tensor]:
    """What a function gives, and what it makes of its arguments."""
    copies = [x.clone() for x in tensors]
    with torch.cuda.device_of(copies[0]):
        given = function(*copies, *rest)
    return [*(given if isinstance(given, tuple) else (given, )), *copies]


def _difference(found: list[torch.Tensor], wanted: list[torch.Tensor],
                dtype: torch.dtype) -> str:
    """Why two lists of tensors are not alike, or nothing."""
    # A few units in the last place, and what tf32 costs where it is allowed.
    close = max(4 * torch.finfo(dtype).eps, 5e-3)
    for one, two in zip(found, wanted, strict=True):
        try:
            torch.testing.assert_close(one, two, rtol=close, atol=close)
        except AssertionError as error:
            return str(error)
    return ''
