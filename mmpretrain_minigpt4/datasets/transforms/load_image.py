# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The pipeline step that reads an image, over the one decoder."""

import os
from typing import Any

from mmcv.transforms import BaseTransform

from ...errors import ImageError
from ...images import ImageLimits, load_image, to_uint8_array
from ...registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadImage(BaseTransform):
    """Read an image as uint8[H, W, 3], RGB, upright, on white.

    The same pixels, and the same errors, as everywhere else in the package.
    The steps after it get RGB, so the data preprocessor must be set to
    ``to_rgb=False``.

    Required Keys: ``img`` (an array, PIL image or bytes) or, where that is
    missing, ``img_path``.

    Modified Keys: ``img``, ``img_shape``, ``ori_shape`` (height, width).

    Args:
        array_order (str): Channel order of arrays in ``img``. The toolbox's
            inferencers and ``mmcv.imread`` give ``'bgr'``.
        limits (dict, optional): Arguments of
            :class:`~mmpretrain_minigpt4.images.ImageLimits`.
    """

    reads_image = True

    def __init__(self, array_order: str = 'bgr',
                 limits: dict | None = None) -> None:
        self.array_order = array_order
        self.limits = ImageLimits(**(limits or {}))

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Read ``results['img']`` or ``results['img_path']``.

        Raises:
            ImageError: If there is neither, or it cannot be read.
        """
        source = results.get('img')
        path = results.get('img_path')
        name = None
        if source is None:
            source = path
        elif isinstance(path, (str, os.PathLike)):
            name = f"image '{os.fspath(path)}'"
        if source is None:
            raise ImageError(
                "Cannot read the image of a sample: it has neither 'img' nor "
                f"'img_path'. Its keys are {sorted(map(str, results))}.")
        image = to_uint8_array(load_image(
            source, channel_order=self.array_order, limits=self.limits,
            name=name))
        results['img'] = image
        results['img_shape'] = results['ori_shape'] = image.shape[:2]
        return results

    def __repr__(self) -> str:
        return (f'{type(self).__name__}(array_order={self.array_order!r}, '
                f'limits={self.limits})')
