# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Any Pillow mode or array -> upright 8-bit RGB, alpha on white."""

from typing import Any

import numpy as np
from PIL import Image

from .limits import ImageLimits, refusal

_ORIENTATION = 0x0112  # the EXIF tag
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_AS_UINT8 = 'Convert it to uint8 of 0 to 255'


def to_upright_rgb(image: Image.Image) -> Image.Image:
    """A new RGB image; ``image``, which is loaded, stays as it is.

    Raises:
        ValueError: If the mode cannot be brought to RGB.
    """
    method = _UPRIGHT.get(_orientation(image))
    if image.mode == 'F' or image.mode.startswith('I'):
        rgb = _deep_grey(image)
    elif image.has_transparency_data:
        rgb = _on_white(image)
    else:
        rgb = image.convert('RGB')
    if method is not None:
        rgb = rgb.transpose(method)
    # Else the next reader of its EXIF would turn it once more.
    rgb.info = {}
    return rgb


def _orientation(image: Image.Image) -> Any:
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # EXIF is often broken; the pixels are not
        return 1
    return value if isinstance(value, int) else 1


def _on_white(image: Image.Image) -> Image.Image:
    """Composite alpha, transparent colour or palette entry on white."""
    if image.mode in ('La', 'RGBa'):
        image = image.convert(image.mode.upper())
    # The copy: Pillow writes a palette's alpha into the image it converts.
    rgba = image.copy().convert('RGBA')
    canvas = Image.new('RGB', rgba.size, 'white')
    canvas.paste(rgba, mask=rgba.getchannel('A'))
    return canvas


def _deep_grey(image: Image.Image) -> Image.Image:
    """Grey of more than 8 bits; mode 'I' is 16-bit if above 255."""
    values = np.asarray(image)
    if image.mode == 'F':
        grey = _unit_floats(values)
    elif image.mode != 'I':
        grey = (values >> 8).astype(np.uint8)
    else:
        low, high = int(values.min()), int(values.max())
        if low < 0 or high > 65535:
            raise ValueError(
                f"mode 'I' with values {low} to {high} has no known range")
        grey = (values >> 8 if high > 255 else values).astype(np.uint8)
    key = image.info.get('transparency')
    if isinstance(key, int):
        grey = np.where(values == key, np.uint8(255), grey)
    return Image.fromarray(grey).convert('RGB')


def _unit_floats(values: np.ndarray) -> np.ndarray:
    """Floats of 0 (black) to 1 (white) as uint8.

    Raises:
        ValueError: If any is not finite, or outside 0 to 1.
    """
    low, high = float(values.min()), float(values.max())  # NaN comes through
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError('it holds NaN or infinite values')
    if low < 0 or high > 1:
        raise ValueError(
            f'its floats go from {low:g} to {high:g}, but 0 is black and 1 '
            'white')
    return (values.astype(np.float32) * 255 + 0.5).astype(np.uint8)


def from_array(array: np.ndarray, channel_order: str | None,
               limits: ImageLimits, label: str) -> Image.Image:
    """An array as an RGB image.

    uint8[H, W] or uint8[H, W, C] with C of 1, 3 or 4; also bool, floats of
    0 to 1, uint16 of full range, and other integers of 0 to 255.

    Raises:
        ImageError: If its shape, type, range or order is not clear.
    """
    label = f'{label} (shape {array.shape}, {array.dtype})'
    _check_shape(array, channel_order, limits, label)
    pixels = np.ascontiguousarray(_to_uint8(array, label))
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.ndim == 3 and channel_order == 'bgr':
        order = [2, 1, 0, 3][:pixels.shape[2]]
        pixels = np.ascontiguousarray(pixels[:, :, order])
    return to_upright_rgb(Image.fromarray(pixels))


def _check_shape(array: np.ndarray, channel_order: str | None,
                 limits: ImageLimits, label: str) -> None:
    shape = array.shape
    if len(shape) == 4 and shape[0] == 1:
        raise refusal(label, 'it is a batch of one', 'Pass array[0]')
    if len(shape) not in (2, 3):
        raise refusal(label, f'it has {len(shape)} dimensions',
                      'Give H x W or H x W x 3')
    if 0 in shape:
        raise refusal(label, 'it is empty', 'Give an image of at least 1 x 1')
    if len(shape) == 3 and shape[2] not in (1, 3, 4):
        if shape[0] in (1, 3, 4):
            raise refusal(label, 'its channels come first',
                          'Pass array.transpose(1, 2, 0)')
        raise refusal(label, f'it has {shape[2]} channels',
                      'Give 1 (grey), 3 (colour) or 4 (colour and alpha)')
    if len(shape) == 3 and shape[2] > 1 and channel_order is None:
        raise refusal(
            label, 'an array does not say the order of its channels',
            "Pass channel_order='rgb', or 'bgr' if it comes from OpenCV")
    limits.check_size(label, (shape[1], shape[0]))


def _to_uint8(array: np.ndarray, label: str) -> np.ndarray:
    """Any array whose range is clear as uint8 of 0 to 255."""
    kind = array.dtype.kind
    if array.dtype == np.uint8:
        return array
    if kind == 'b':
        return array.astype(np.uint8) * 255
    if kind == 'f':
        try:
            return _unit_floats(array)
        except ValueError as error:
            raise refusal(label, str(error), _AS_UINT8) from error
    if kind not in 'iu':
        raise refusal(label, 'its type holds no pixels', _AS_UINT8)
    low, high = int(array.min()), int(array.max())
    if kind == 'u' and array.itemsize == 2:  # of either byte order
        if 0 < high <= 255:
            raise refusal(
                label, f'its highest value is {high} of 65535, so it would '
                'be black', "If it is of 0 to 255, use astype('uint8')")
        return (array >> 8).astype(np.uint8)
    if low < 0 or high > 255:
        raise refusal(label, f'its values go from {low} to {high}', _AS_UINT8)
    return array.astype(np.uint8)
