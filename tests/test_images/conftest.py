# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Files written by hand, for what Pillow cannot write."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image


def chunk(kind: bytes, body: bytes) -> bytes:
    return (struct.pack('>I', len(body)) + kind + body
            + struct.pack('>I', zlib.crc32(kind + body)))


def write_png(size, depth, colour, rows: bytes, *, before: bytes = b'',
              after: bytes = b'') -> bytes:
    """A PNG of raw rows (each with its filter byte) and extra chunks."""
    header = struct.pack('>IIBBBBB', *size, depth, colour, 0, 0, 0)
    return (b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + before
            + chunk(b'IDAT', zlib.compress(rows)) + after
            + chunk(b'IEND', b''))


@pytest.fixture(scope='session')
def png():
    """The function ``write_png``, with ``png.chunk`` beside it."""
    write_png.chunk = chunk
    return write_png


@pytest.fixture(scope='session')
def encode():
    """``encode(image, format, **options) -> bytes``."""

    def encode(image, kind, **options):
        file = io.BytesIO()
        image.save(file, kind, **options)
        return file.getvalue()

    return encode


@pytest.fixture
def quarters():
    """16 x 8: red and lime above, blue and black below."""
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:4, :8, 0] = 255
    pixels[:4, 8:, 1] = 255
    pixels[4:, :8, 2] = 255
    return Image.fromarray(pixels)
