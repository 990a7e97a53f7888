# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Which formats are read, how they are told apart, and their headers.

A file is what its first bytes say, whatever its name or media type says.
"""

import struct
import zlib

from .limits import ImageLimits, refusal

ALLOWED_FORMATS = ('JPEG', 'PNG', 'WebP', 'GIF', 'BMP')
_ALLOWED = f'{", ".join(ALLOWED_FORMATS[:-1])} and {ALLOWED_FORMATS[-1]}'
_FIX = f'Only {_ALLOWED} are read; save it as one of them'

_PNG_MAGIC = b'\x89PNG\r\n\x1a\n'
_BMP_HEADERS = tuple(
    size.to_bytes(4, 'little') for size in (12, 40, 52, 56, 64, 108, 124))
# Formats that are named in the refusal, so that nobody has to guess.
_REFUSED = (
    (b'II*\0', 'TIFF'), (b'MM\0*', 'TIFF'), (b'II+\0', 'BigTIFF'),
    (b'MM\0+', 'BigTIFF'), (b'8BPS', 'PSD'), (b'SIMPLE  =', 'FITS'),
    (b'%!PS', 'EPS'), (b'\xc5\xd0\xd3\xc6', 'EPS'), (b'%PDF', 'PDF'),
    (b'\0\0\0\x0cjP  ', 'JPEG 2000'), (b'\xff\x4f\xff\x51', 'JPEG 2000'),
    (b'\xff\x0a', 'JPEG XL'), (b'\0\0\0\x0cJXL ', 'JPEG XL'),
    (b'\0\0\1\0', 'ICO'), (b'PK\3\4', 'ZIP archive'), (b'\x1f\x8b', 'gzip'),
)
_BRANDS = {b'avif': 'AVIF', b'avis': 'AVIF', b'heic': 'HEIC',
           b'heix': 'HEIC', b'mif1': 'HEIF', b'msf1': 'HEIF'}

# All that makes PNG pixels, and the two places of an orientation. Others
# are left out: text can be 100 MB large or unpack to as much, and without
# the animation's chunks an APNG is the PNG of its first picture.
_PNG_KEPT = (b'IHDR', b'PLTE', b'tRNS', b'eXIf', b'IDAT', b'IEND')
_PNG_EXIF_TEXT = b'Raw profile type exif\0'
_PNG_MAX_TEXT = 2**16  # bytes
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
# First column and row, and the steps, of each pass of an interlaced PNG.
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4),
          (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def sniff_format(data: bytes, label: str) -> str:
    """One of Pillow's names: JPEG, PNG, WEBP, GIF or BMP.

    Raises:
        ImageError: If it is any other kind of file.
    """
    if data.startswith(b'\xff\xd8\xff'):
        return 'JPEG'
    if data.startswith(_PNG_MAGIC):
        return 'PNG'
    if data.startswith(b'RIFF') and data[8:12] == b'WEBP':
        return 'WEBP'
    if data.startswith((b'GIF87a', b'GIF89a')):
        return 'GIF'
    # Two letters begin many a text; the size of its second header is one of
    # a few.
    if data.startswith(b'BM') and data[14:18] in _BMP_HEADERS:
        return 'BMP'
    raise refusal(label, f'it is {_guess(data)}', _FIX)


def _guess(data: bytes) -> str:
    for magic, kind in _REFUSED:
        if data.startswith(magic):
            return f'{_article(kind)} {kind} file'
    if data[4:8] == b'ftyp':
        kind = _BRANDS.get(data[8:12], 'video or HEIF')
        return f'{_article(kind)} {kind} file'
    start = data[:2048].lstrip(b'\xef\xbb\xbf \t\r\n').lower()
    if b'<svg' in start:
        return 'an SVG drawing'
    if start.startswith((b'<!doctype html', b'<html')):
        return 'a web page, perhaps the answer of a failed download'
    if start.startswith(b'version https://git-lfs'):
        return "a Git LFS pointer; 'git lfs pull' gets the file"
    if start and all(c >= 32 or c in b'\t\r\n\f' for c in start):
        return 'a text file'
    return 'of an unknown format'


def webp_size(data: bytes, label: str) -> tuple[int, int]:
    """Width and height of a WebP from its header.

    Pillow allocates the canvas when it opens one, so this comes first.
    Source: RFC 9649, section 2.

    Raises:
        ImageError: If the header is cut short or broken.
    """
    kind = data[12:16]
    if kind == b'VP8X' and len(data) >= 30:
        return (int.from_bytes(data[24:27], 'little') + 1,
                int.from_bytes(data[27:30], 'little') + 1)
    if kind == b'VP8L' and len(data) >= 25 and data[20] == 0x2F:
        bits = int.from_bytes(data[21:25], 'little')
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b'VP8 ' and data[23:26] == b'\x9d\x01\x2a' and len(data) >= 30:
        width, height = struct.unpack_from('<HH', data, 26)
        return width & 0x3FFF, height & 0x3FFF
    raise refusal(label, 'its WebP header is broken', 'Get the file again')


def clean_png(data: bytes, limits: ImageLimits, label: str) -> bytes:
    """The same PNG without what makes no pixels, its checksums proven.

    The size is checked before the rest is looked at. ``tRNS`` is rewritten
    for depths where Pillow compares it with samples already brought to
    8 bits.

    Raises:
        ImageError: If it is too large, cut short or damaged.
    """
    damaged = (label, 'the PNG is cut short or damaged', 'Get the file again')
    if data[12:16] != b'IHDR' or len(data) < 33:
        raise refusal(*damaged)
    limits.check_size(label, struct.unpack_from('>II', data, 16))
    depth, colour = data[24], data[25]
    view, at, pieces = memoryview(data), 8, [_PNG_MAGIC]
    kind = b''
    while kind != b'IEND':
        if at + 12 > len(data):
            raise refusal(*damaged)
        length, kind = struct.unpack_from('>I4s', data, at)
        end = at + 12 + length
        if end > len(data):
            raise refusal(*damaged)
        if kind in _PNG_KEPT or _is_exif_text(kind, length, data, at):
            body = view[at + 4:end - 4]
            if zlib.crc32(body) != int.from_bytes(view[end - 4:end], 'big'):
                raise refusal(*damaged)
            if kind == b'tRNS':
                pieces.append(_transparency_chunk(body, depth, colour))
            else:
                pieces.append(view[at:end])
        at = end
    return b''.join(pieces)


def _is_exif_text(kind: bytes, length: int, data: bytes, at: int) -> bool:
    return (kind in (b'tEXt', b'zTXt') and length <= _PNG_MAX_TEXT
            and data.startswith(_PNG_EXIF_TEXT, at + 8))


def _transparency_chunk(body: memoryview, depth: int, colour: int) -> bytes:
    """``tRNS`` in the units that Pillow gives its pixels in.

    Grey of 2 or 4 bits is stretched to 0-255, true colour of 16 bits cut to
    its high byte; the key has to go the same way.
    """
    body = bytes(body)
    if colour == 0 and depth in (2, 4) and len(body) >= 6:
        key = int.from_bytes(body[4:6], 'big') & (2**depth - 1)
        body = b'tRNS' + struct.pack('>H', key * 255 // (2**depth - 1))
    elif colour == 2 and depth == 16 and len(body) >= 10:
        body = b'tRNS' + struct.pack(
            '>3H', *(v >> 8 for v in struct.unpack_from('>3H', body, 4)))
    return b''.join((struct.pack('>I', len(body) - 4), body,
                     struct.pack('>I', zlib.crc32(body))))


def check_png_rows(data: bytes, label: str) -> None:
    """Count the unpacked bytes of a cleaned PNG against its header.

    Raises:
        ImageError: If there are fewer than its rows need.
    """
    width, height, depth, colour = struct.unpack_from('>IIBB', data, 16)
    bits = depth * _PNG_CHANNELS[colour]
    passes = _ADAM7 if data[28] else ((0, 0, 1, 1),)
    need = 0
    for x, y, step_x, step_y in passes:
        columns = max(0, -(-(width - x) // step_x))
        rows = max(0, -(-(height - y) // step_y))
        if columns:
            need += rows * (1 + (columns * bits + 7) // 8)
    unpack, found, at = zlib.decompressobj(), 0, 8
    while at < len(data) and found < need:
        length, kind = struct.unpack_from('>I4s', data, at)
        piece = data[at + 8:at + 8 + length] if kind == b'IDAT' else b''
        while piece and found < need:
            found += len(unpack.decompress(piece, 2**20))
            piece = unpack.unconsumed_tail
        at += 12 + length
    if found < need:
        raise refusal(label, 'the PNG is cut short: rows are missing',
                      'Get the file again')


def _article(kind: str) -> str:
    return 'an' if kind[0] in 'AEIO' else 'a'
