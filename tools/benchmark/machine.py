# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""What a number was measured on, and what that machine can do at most."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import torch

from mmpretrain_minigpt4.ops.native import instructions

from .clock import Clock
from .roofline import Ceilings

# What decides which kernels a CPU can run.
FLAGS = ('avx2', 'avx512f', 'avx512_bf16', 'avx512_vnni', 'avx_vnni',
         'amx_tile', 'amx_bf16', 'amx_int8', 'asimd', 'bf16', 'i8mm', 'sve')
PACKAGES = ('torch', 'transformers', 'mmpretrain', 'mmengine', 'torchao',
            'triton', 'mmpretrain-minigpt4')


def describe(device: torch.device) -> dict:
    """The machine, as a JSON line names it."""
    model, flags = _cpu()
    found = dict(
        cpu=model,
        cores=os.cpu_count(),
        flags=[flag for flag in FLAGS if flag in flags],
        kernels=instructions(),
        gpu=None,
        system=f'{platform.system()} {platform.machine()}')
    if device.type == 'cuda':
        settings = torch.cuda.get_device_properties(device)
        found['gpu'] = (f'{settings.name}, '
                        f'{settings.total_memory / 2**30:.0f} GiB')
    return found


def versions() -> dict[str, str]:
    """Of Python, CUDA and the packages that do the work."""
    found = dict(python=platform.python_version())
    if torch.version.cuda:
        found['cuda'] = torch.version.cuda
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    if 'mmpretrain-minigpt4' not in found:  # run from a checkout
        from mmpretrain_minigpt4 import __version__
        found['mmpretrain-minigpt4'] = __version__
    return found


def measure_ceilings(clock: Clock, dtype: torch.dtype,
                     quick: bool = False) -> Ceilings:
    """The best of several matrix products and of several memory streams.

    Args:
        clock: Takes the times, and knows the device.
        dtype: Of the matrices.
        quick: Smaller matrices and fewer tries.
    """
    cuda = clock.device.type == 'cuda'
    side = 8192 if cuda else (768 if quick else 1536)
    size = 1 << 30 if cuda else 1 << 26 if quick else 1 << 28  # bytes
    tries = 3 if quick else 8
    a = torch.randn(side, side, device=clock.device).to(dtype)
    b = torch.randn(side, side, device=clock.device).to(dtype)
    out = torch.empty_like(a)
    torch.mm(a, b, out=out)
    products = [lambda: torch.mm(a, b, out=out)]
    if not cuda:
        # Twice as fast as torch.mm on some CPUs: the ceiling is the best
        # that is known, whoever reaches it.
        products += _packed_product(a, b)
    product = min(clock.time(job) for job in products for _ in range(tries))
    memory = torch.randn(size // 4, device=clock.device)
    copy = torch.empty_like(memory)
    copy.copy_(memory)
    copying = min(
        clock.time(lambda: copy.copy_(memory)) for _ in range(tries))
    # Weights are read and not written: a CPU reads faster than it copies.
    memory.sum()
    reading = min(clock.time(memory.sum) for _ in range(tries))
    return Ceilings(
        flops=2 * side**3 / product,
        bandwidth=max(2 * size / copying, size / reading),
        dtype=str(dtype).removeprefix('torch.'))


def _packed_product(a: torch.Tensor, b: torch.Tensor) -> list[Callable]:
    """The product with weights in oneDNN's own layout, where it exists."""
    operators = torch.ops.mkldnn
    try:
        packed = operators._reorder_linear_weight(
            b.t().contiguous(), len(a))

        def job():
            return operators._linear_pointwise(a, packed, None, 'none', [],
                                               '')

        job()
    except (AttributeError, RuntimeError):
        return []
    return [job]


def _cpu() -> tuple[str, set[str]]:
    try:
        text = Path('/proc/cpuinfo').read_text(encoding='utf-8')
    except OSError:
        return platform.processor() or platform.machine(), set()
    lines = dict(
        reversed([[x.strip() for x in line.split(':', 1)]
                  for line in text.splitlines() if ':' in line]))
    flags = lines.get('flags') or lines.get('Features') or ''
    model = lines.get('model name') or platform.machine()
    return model, set(flags.split())
