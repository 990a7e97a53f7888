# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Kernels of a decode step on a GPU, written in Triton.

Each computes what its namesake in :mod:`..kernels.reference` computes. None
waits for the device.
"""

from .support import interpreting, supported

__all__ = ['interpreting', 'supported']
