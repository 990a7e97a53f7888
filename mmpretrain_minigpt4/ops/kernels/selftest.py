# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Kernels are tried beside their references before they are used."""

from __future__ import annotations

from types import ModuleType

import torch

from . import reference


def check(kernels: ModuleType, device: torch.device, dtype: torch.dtype
          ) -> None:
    """Try every kernel on small inputs.

    Args:
        kernels: Has functions of the names in :mod:`.reference`.
        device: Where they are to run.
        dtype: Of what they read.

    Raises:
        ArithmeticError: If one gives something else than its twin; the
            message begins with its name.
        RuntimeError: If one fails: whatever it raised is the cause.
    """
    with torch.inference_mode(), torch.device(device):
        for name, tensors, rest in _trials(dtype):
            try:
                found = _run(getattr(kernels, name), tensors, rest)
            except Exception as error:  # of a driver or a compiler
                raise RuntimeError(f'{name} failed: {error!r}') from error
            wanted = _run(getattr(reference, name), tensors, rest)
            reason = _difference(found, wanted, dtype)
            if reason:
                raise ArithmeticError(f'{name} failed: {reason}')


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
    yield 'apply_rope_and_write', (
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
        if reason := difference(one, two, close):
            return reason
    return ''


def difference(found: torch.Tensor, wanted: torch.Tensor, close: float
               ) -> str:
    """Why two tensors are not alike, or nothing.

    ``torch.testing`` says it better, and takes most of a second to import
    what it needs.

    Args:
        found: Of any shape and type.
        wanted: What it is to be.
        close: How far apart they may be, relative and absolute.
    """
    for name in ('shape', 'dtype'):
        one, two = getattr(found, name), getattr(wanted, name)
        if one != two:
            return f'{name} is {one}, not {two}'
    if torch.allclose(found, wanted, rtol=close, atol=close):
        return ''
    most = (found - wanted).abs().max().item()
    return f'not close: apart by up to {most:.3g}'
