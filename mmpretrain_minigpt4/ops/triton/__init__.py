# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Kernels of a decode step on a GPU, written in Triton.

Each has a twin of the same name and signature in :mod:`.plain`, which says
what it computes.
"""

from .plain import (
    add_rms_norm,
    decode_attention,
    rms_norm,
    rotate_and_write,
    silu_mul,
)

__all__ = [
    'add_rms_norm', 'decode_attention', 'rms_norm', 'rotate_and_write',
    'silu_mul'
]
