# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The operators of a decode step: dispatch, reference and self-test.

On a GPU they are Triton's, on a CPU those of the compiled library;
:mod:`.reference` says what each computes, and runs everywhere.
"""

from . import reference
from .dispatch import available, backend, disabled, operators

__all__ = ['available', 'backend', 'disabled', 'operators', 'reference']
