# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The operators of a decode step, dispatched to the fastest backend.

On a GPU that is Triton, on a CPU the compiled library; :mod:`.reference` says
what each operator computes, and runs everywhere.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Iterator
from contextvars import ContextVar
from types import ModuleType

import torch

from .. import native
from ..triton import supported
from . import reference
from .selftest import check

__all__ = ['available', 'backend', 'disabled', 'operators']

TYPES = {'triton': (*native.TYPES, torch.float16), 'native': native.TYPES}

_enabled: ContextVar[bool] = ContextVar('kernels', default=True)


def operators(device: torch.device, dtype: torch.dtype) -> ModuleType:
    """What has the operators of a decode step for a device and a type.

    Those of Triton launch on the current device. Where a gradient may be
    wanted, and within :func:`disabled`, they are the reference ones.

    Args:
        device: Where the tensors are.
        dtype: Their type.

    Returns:
        module: Its functions are those of :mod:`.reference`.
    """
    if torch.is_grad_enabled():
        return reference
    kind = available(device, dtype)
    return _module(kind) if kind else reference


def available(device: torch.device | str, dtype: torch.dtype) -> str | None:
    """The backend whose kernels work and are not disabled, or None.

    Tried out once for a device and a type, which may take seconds the first
    time; so ask before a CUDA graph is captured. Where a kernel cannot be
    built or gives something else, one warning names the reason.
    """
    device = torch.device(device)
    # A trace would take what a library gives for a constant.
    traced = torch.jit.is_tracing() or torch.compiler.is_compiling()
    kind = backend(device) if _enabled.get() and not traced else None
    if kind and dtype in TYPES[kind] and _passes_selftest(kind, device, dtype):
        return kind
    return None


def backend(device: torch.device) -> str | None:
    """The backend that has kernels for a device, if any."""
    if supported(device):
        return 'triton'
    if device.type == 'cpu' and native.instructions():
        return 'native'
    return None


@contextlib.contextmanager
def disabled(switch: bool = True) -> Iterator[None]:
    """Within it kernels are disabled, if they are to be.

    Args:
        switch: False changes nothing.
    """
    if not switch:
        yield
        return
    token = _enabled.set(False)
    try:
        yield
    finally:
        _enabled.reset(token)


def _module(kind: str) -> ModuleType:
    # Triton is imported where it is wanted only.
    if kind == 'triton':
        from ..triton import kernels as found
    else:
        from ..native import decode as found
    return found


@functools.cache
def _passes_selftest(kind: str, device: torch.device,
                     dtype: torch.dtype) -> bool:
    try:
        check(_module(kind), device, dtype)
    except Exception as error:  # whatever a driver or a compiler may raise
        logging.getLogger(__name__).warning(
            'decoding on %s in %s goes without kernels: %s', device, dtype,
            ' '.join(str(error).split())[:300] or repr(error))
        return False
    return True
