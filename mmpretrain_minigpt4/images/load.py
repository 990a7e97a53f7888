# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The door: one function for every kind of image a user can have."""

from typing import Any

import numpy as np
from PIL import Image

from ..errors import ImageError
from .decode import decode
from .limits import ImageLimits, describe, refusal, shorten
from .pixels import from_array, to_upright_rgb
from .sources import read_source


def load_image(source: Any, *, channel_order: str | None = None,
               limits: ImageLimits | None = None,
               name: str | None = None) -> Image.Image:
    """Read one image as upright 8-bit RGB.

    EXIF orientation is applied, alpha composited on white, 16-bit samples
    scaled to 8, and of an animation the first frame taken. Nothing is ever
    fetched from a network.

    Args:
        source: A path, encoded bytes, a binary file object (read from its
            start), a PIL image (its current frame; left as it is), a NumPy
            array, or a ``data:image/...;base64,...`` string. A server must
            not hand on a user's string as it is: it may be a path.
        channel_order: ``'rgb'`` or ``'bgr'``; needed for an array of 3 or
            4 channels, without effect on everything else. Floats in an
            array go from 0 (black) to 1 (white).
        limits: What is too large, checked before any decoding.
        name: How errors call the input, instead of its path.

    Returns:
        PIL.Image.Image: A new image of mode RGB.

    Raises:
        ImageError: If it cannot be read; names the input and the fix.
    """
    limits = ImageLimits() if limits is None else limits
    label = describe(source, name)
    if channel_order not in (None, 'rgb', 'bgr'):
        raise refusal(
            label, f'channel_order is {shorten(repr(channel_order), 24)}',
            "Use 'rgb' or 'bgr'")
    if isinstance(source, Image.Image):
        return _from_pil(source, limits, label)
    if isinstance(source, (np.ndarray, np.generic)) and not isinstance(
            source, (str, bytes)):  # np.str_ is a str, a path
        return from_array(np.asarray(source), channel_order, limits, label)
    return decode(read_source(source, limits, label), limits, label)


def _from_pil(image: Image.Image, limits: ImageLimits,
              label: str) -> Image.Image:
    limits.check_size(label, image.size)
    try:
        image.load()
        return to_upright_rgb(image)
    except (ImageError, MemoryError):
        raise
    except OSError as error:  # opened lazily, its file is read only now
        raise refusal(label, f'its file is cut short, damaged or closed '
                      f'({shorten(str(error))})',
                      'Open the image again, or get its file again') from error
    except Exception as error:
        raise refusal(
            label, f'mode {image.mode} cannot be turned into RGB '
            f'({shorten(str(error))})', 'Convert it to RGB first') from error


def to_uint8_array(image: Image.Image) -> np.ndarray:
    """The pixels of an image from :func:`load_image`: uint8[H, W, 3], RGB.

    The array is a writable copy.
    """
    return np.array(image.convert('RGB'))
