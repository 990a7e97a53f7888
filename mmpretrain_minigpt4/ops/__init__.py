# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Operators that are faster than the stock ones, at the same result."""

from . import kernels
from .attention import attention, hide_later
from .linear import int8_chunked
from .linear.merged import merge, merged_linear
from .linear.prepacked import (
    PrepackedLinear,
    can_prepack,
    fused_forward,
    fused_linears,
    linear,
    linear_gelu,
    prepack,
    unpack,
)
from .linear.prepacked_int8 import PackableInt8

__all__ = [
    'PackableInt8', 'PrepackedLinear', 'attention', 'can_prepack',
    'fused_forward', 'fused_linears', 'hide_later', 'int8_chunked', 'kernels',
    'linear', 'linear_gelu', 'merge', 'merged_linear', 'prepack', 'unpack'
]
