# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Operators that are faster than the stock ones, at the same result."""

from . import byte_parts, kernels
from .attention import attention, hide_later
from .joined_linear import join, joint_linear
from .packed_int8 import PackableInt8
from .packed_linear import (
    PackedLinear,
    can_prepack,
    linear,
    linear_gelu,
    linears,
    one_product,
    prepack,
    unpack,
)

__all__ = [
    'PackableInt8', 'PackedLinear', 'attention', 'byte_parts', 'can_prepack',
    'hide_later', 'join', 'joint_linear', 'kernels', 'linear', 'linear_gelu',
    'linears', 'one_product', 'prepack', 'unpack'
]
