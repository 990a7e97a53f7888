# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""By what an image is found again: its content, never its place.

The bytes of a file or of a shard's entry are hashed as they are, without
decoding; a drawn image has no file, so its pixels are. A moved folder or a
repacked shard therefore finds its features, and a changed image does not.
"""

import hashlib
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from ..errors import ImageError
from ..images import ImageLimits
from ..images.sources import read_source

KEY_BYTES = 16


def image_key(source: Any) -> bytes:
    """The 16 bytes that stand for an image.

    Args:
        source: A path, encoded bytes, an array or a PIL image.

    Raises:
        ImageError: If a file cannot be read.
    """
    digest = hashlib.blake2b(digest_size=KEY_BYTES)
    if isinstance(source, Image.Image):
        digest.update(f'{source.mode} {source.size}'.encode())
        digest.update(source.tobytes())
    elif isinstance(source, np.ndarray):
        digest.update(f'{source.dtype} {source.shape}'.encode())
        digest.update(np.ascontiguousarray(source))
    else:
        label = (f"image '{os.fspath(source)}'"
                 if isinstance(source, (str, os.PathLike)) else 'image')
        digest.update(read_source(source, ImageLimits(), label))
    return digest.digest()


def image_sources(info: Mapping[str, Any]) -> list[tuple[Any, str]]:
    """The images of a sample as a pipeline gets it, each with a name.

    Args:
        info: A sample with ``img_paths``, ``img`` or ``img_path``.

    Raises:
        ImageError: If it has none of them.
    """
    if info.get('img_paths') is not None:
        return [(path, str(path)) for path in info['img_paths']]
    source = info.get('img')
    if source is None:
        source = info.get('img_path')
    if source is None:
        raise ImageError(
            "A sample has no image: neither 'img' nor 'img_path' nor "
            f"'img_paths'. Its keys are {sorted(map(str, info))}.")
    name = info.get('img_path') or info.get('image_id')
    return [(source, str(name if name is not None else 'an image'))]
