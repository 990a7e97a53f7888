# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""MiniGPT-4 as a member of MMPretrain.

Importing the package is cheap (the standard library alone): it patches the
toolbox when the toolbox's modules are imported, see ``compat.py``, and puts
the package's models into the toolbox's model index when that is first used.
Import it before mmengine's runner, transformers or mmpretrain.
"""

from . import compat

__version__ = '0.1.0'

compat.install()

__all__ = ['__version__']
