# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Bytes -> Pillow image in its own mode: all of it, or an error.

Pillow's format classes are called directly, not through ``Image.open``: no
other format can be guessed, and Pillow's global settings (its bomb limit, its
leave to load truncated files) need not be touched, so threads and other users
of Pillow in the process see nothing of it.
"""

import io

import numpy as np
from PIL import Image, ImageChops
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from ..errors import ImageError
from .formats import check_png_rows, clean_png, sniff_format, webp_size
from .limits import ImageLimits, refusal, shorten
from .pixels import to_upright_rgb

_READERS = {'JPEG': JpegImageFile, 'PNG': PngImageFile, 'GIF': GifImageFile,
            'WEBP': WebPImageFile, 'BMP': BmpImageFile}


def decode(data: bytes, limits: ImageLimits, label: str) -> Image.Image:
    """The first picture of an encoded file, upright, RGB, on white.

    Colours are taken as they are stored; embedded colour profiles are not
    applied, as in the model's training. JPEGs are decoded at full size
    (Pillow's ``draft`` would change the pixels).

    Raises:
        ImageError: If the file is of another format, too large or damaged.
    """
    kind = sniff_format(data, label)
    if kind == 'PNG':
        data = clean_png(data, limits, label)
    elif kind == 'WEBP':
        limits.check_size(label, webp_size(data, label))
    try:
        with _READERS[kind](io.BytesIO(data)) as image:
            limits.check_size(label, image.size)
            box = image.tile[0][1] if kind == 'GIF' else None
            _read_strictly(image, kind)
            image.load()
            if kind == 'PNG' and _may_lack_rows(image):
                check_png_rows(data, label)
            if kind == 'JPEG' and image.mode == 'CMYK':
                image = _plain_cmyk(image)
            rgb = to_upright_rgb(image)
            if box and box != (0, 0, *rgb.size):
                # The rest of the GIF's screen is empty, not colour 0.
                screen = Image.new('RGB', rgb.size, 'white')
                screen.paste(rgb.crop(box), box)
                return screen
            return rgb
    except (ImageError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        # GIF frames larger than their screen, or a lower limit of the user's.
        raise refusal(
            label, "it is over Pillow's own limit, Image.MAX_IMAGE_PIXELS",
            'Shrink it') from error
    except Exception as error:  # Pillow raises a dozen types on bad data
        raise refusal(
            label, f'the {kind} is cut short or damaged '
            f'({shorten(str(error)) or type(error).__name__})',
            'Get or save the file again') from error


def _read_strictly(image: ImageFile, kind: str) -> None:
    """Make a file that ends too early an error for this image.

    Elsewhere in the process ``ImageFile.LOAD_TRUNCATED_IMAGES`` may be set,
    which would fill the missing part with grey.
    """
    if kind == 'WEBP':
        return  # decoded as a whole by libwebp, which needs all of it
    # A JPEG's own reader adds the missing end mark under that setting.
    own = image.load_read if kind == 'PNG' else None

    def load_read(count: int) -> bytes:
        piece = own(count) if own else image.fp.read(count)
        if not piece:
            raise OSError('image file is truncated')
        return piece

    image.load_read = load_read


def _may_lack_rows(image: ImageFile) -> bool:
    """Whether a PNG's last row may never have been written.

    Pillow takes a PNG whose data end early without a word and leaves the
    rest 0, which is what makes it worth a second, slower look.
    """
    width, height = image.size
    last = np.asarray(image.crop((0, height - 1, width, height)))
    return bool(image.info.get('interlace')) or not last.any()


def _plain_cmyk(image: Image.Image) -> Image.Image:
    """Undo Pillow's inversion where the JPEG was not stored inverted.

    Adobe's writers store ink upside down and say so by an APP14 mark; Pillow
    inverts every CMYK file. Without the mark 0 is no ink.
    Source: ITU-T T.872, section 6.1.
    """
    if 'adobe' in image.info:
        return image
    plain = ImageChops.invert(image)
    plain.info = dict(image.info)
    return plain
