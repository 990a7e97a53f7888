# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Where Triton can run kernels."""

from __future__ import annotations

import functools
import importlib.util
import os

import torch

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


def interpreting() -> bool:
    """Whether Triton is told to run kernels in Python."""
    return os.environ.get('TRITON_INTERPRET', '0').lower() in (
        '1', 'true', 'on', 'yes')


@functools.cache
def _has_triton() -> bool:
    return importlib.util.find_spec('triton') is not None
