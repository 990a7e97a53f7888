# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The kernels by the names of their plain twins; wants Triton to import."""

from .attention import decode_attention
from .gate import silu_mul
from .norms import add_rms_norm, rms_norm
from .rotary import apply_rope_and_write

__all__ = [
    'add_rms_norm', 'decode_attention', 'rms_norm', 'apply_rope_and_write',
    'silu_mul'
]
