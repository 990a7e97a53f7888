# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Kernels for CPUs, written in C++.

Those of a decode step compute what their namesakes in
:mod:`..kernels.reference` compute.
"""

from .library import TYPES, instructions

__all__ = ['TYPES', 'instructions']
