# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The number type of frozen parts: by name, or by the device."""

from __future__ import annotations

import torch

from ..errors import ConfigError

DTYPES = dict(
    float32=torch.float32,
    fp32=torch.float32,
    bfloat16=torch.bfloat16,
    bf16=torch.bfloat16,
    float16=torch.float16,
    fp16=torch.float16)


def compute_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """The type to compute in on a device.

    ``auto`` is float32 on a CPU and bfloat16 elsewhere.

    Raises:
        ConfigError: If there is no such type, or for float16 on a CPU.
    """
    if dtype == 'auto':
        plain = device.type in ('cpu', 'meta')
        return torch.float32 if plain else torch.bfloat16
    if dtype not in DTYPES:
        raise ConfigError(f'There is no dtype {dtype!r}; known: auto, '
                          f'{", ".join(DTYPES)}.')
    if DTYPES[dtype] == torch.float16 and device.type == 'cpu':
        raise ConfigError("dtype='float16' is not for CPUs: it is slow and "
                          "overflows there. Use 'auto', 'float32' or "
                          "'bfloat16', or a GPU.")
    return DTYPES[dtype]


def load_dtype(dtype: str) -> torch.dtype | str:
    """The type to read weights in, before their device is known.

    Without a GPU it is the type to compute in. With one, ``auto`` keeps the
    file's own type until the model has been moved, so that a model that
    stays on the CPU has lost nothing.

    Raises:
        ConfigError: As of :func:`compute_dtype`.
    """
    cuda = torch.cuda.is_available()
    if dtype == 'auto' and cuda:
        return 'auto'
    return compute_dtype(dtype, torch.device('cuda' if cuda else 'cpu'))


def convert(module: torch.nn.Module, dtype: torch.dtype) -> None:
    """Give a module's weights a type, but not what it computed when built.

    The frequencies of rotary positions are such: in bfloat16 their angles
    are off by a third of a radian at position 300. Like transformers, this
    leaves buffers that no checkpoint holds as they are.
    """
    kept = [(part, name, part._buffers[name]) for part in module.modules()
            for name in part._non_persistent_buffers_set
            if part._buffers.get(name) is not None]
    module.to(dtype)
    for part, name, buffer in kept:
        part._buffers[name] = buffer
