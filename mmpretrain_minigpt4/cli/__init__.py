# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The command line: ``minigpt4`` and the scripts in ``tools/``.

Nothing here imports torch or the toolbox before it is needed, so that
``minigpt4 --help`` answers at once.
"""

from .main import main

__all__ = ['main']
