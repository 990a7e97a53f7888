# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The one image decoder: every door reads its pictures through here.

Data set, inferencer, command line, server and web page call
:func:`load_image`, so the same picture gives the same pixels, or the same
:class:`~mmpretrain_minigpt4.errors.ImageError`, whichever way it came in.
Needs Pillow and NumPy alone.

* ``limits.py``: what is too large, and how an input is named in an error
* ``sources.py``: path, file object, data URI -> bytes
* ``formats.py``: which formats are read, and their headers
* ``decode.py``: bytes -> Pillow image, never a part of one
* ``pixels.py``: any mode or array -> upright RGB on white
* ``load.py``: the door itself
"""

from .formats import ALLOWED_FORMATS
from .limits import ImageLimits
from .load import load_image, to_uint8_array

__all__ = ['ALLOWED_FORMATS', 'ImageLimits', 'load_image', 'to_uint8_array']
