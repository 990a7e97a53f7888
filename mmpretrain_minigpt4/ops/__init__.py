# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Operators that are faster than the stock ones, at the same result."""

from .attention import attention
from .packed_linear import (
    can_prepack,
    linear,
    linear_add,
    linear_gelu,
    linears,
    prepack,
    unpack,
)

__all__ = [
    'attention', 'can_prepack', 'linear', 'linear_add', 'linear_gelu',
    'linears', 'prepack', 'unpack'
]
