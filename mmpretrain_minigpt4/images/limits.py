# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Limits on an image, and the sentence that refuses one."""

import os
from dataclasses import dataclass, fields

from ..errors import ConfigError, ImageError

# Longest piece of a user's own text (a path, a reason) in a message.
MAX_SHOWN = 96


@dataclass(frozen=True)
class ImageLimits:
    """What is too large to be decoded, checked from the header.

    Attributes:
        max_pixels (int): Width times height. The default is the count above
            which Pillow warns of a decompression bomb.
        max_side (int): Width or height, in pixels.
        max_bytes (int): Size of the encoded file.
    """

    max_pixels: int = 89_478_485
    max_side: int = 32_768
    max_bytes: int = 64 * 2**20

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise ConfigError(
                    f'ImageLimits.{field.name} must be a whole number, '
                    f'not {value!r}')
            if value < 1:
                raise ConfigError(
                    f'ImageLimits.{field.name} must be at least 1, '
                    f'not {value}')

    def check_size(self, label: str, size: tuple[int, int]) -> None:
        """Refuse a width and height, before any pixel is decoded.

        Raises:
            ImageError: If the image is empty or too large.
        """
        width, height = size
        shown = f'it is {width} x {height} pixels'
        if width < 1 or height < 1:
            raise refusal(label, f'{shown}, so it has none',
                          'Give an image of at least 1 x 1')
        if max(size) > self.max_side:
            raise refusal(
                label, f'{shown}, over the limit of {self.max_side} a side',
                'Crop or shrink it, or raise ImageLimits(max_side=...)')
        if width * height > self.max_pixels:
            raise refusal(
                label, f'{shown}, over the limit of {self.max_pixels} in all',
                'Shrink it, or raise ImageLimits(max_pixels=...)')

    def check_bytes(self, label: str, count: int) -> None:
        """Refuse an encoded file of more than ``max_bytes``.

        Raises:
            ImageError: If it is empty or too large.
        """
        if count < 1:
            raise refusal(label, 'it is empty (0 bytes)',
                          'Give a file that holds an image')
        if count > self.max_bytes:
            raise refusal(
                label, f'it is over the limit of {self.max_bytes} bytes',
                'Save it smaller, or raise ImageLimits(max_bytes=...)')


def refusal(label: str, problem: str, fix: str) -> ImageError:
    """The one form of every image error: which input, what, the fix."""
    return ImageError(f'Cannot read {label}: {problem}. {fix}.')


def shorten(text: str, limit: int = MAX_SHOWN) -> str:
    """``text`` on one line, printable, its middle left out if long."""
    text = str(text)
    if len(text) > limit:
        # The end of a path (its file name) tells more than the start.
        head = limit // 3
        text = f'{text[:head]}...{text[head + 3 - limit:]}'
    return ''.join(
        c if c.isprintable() else ascii(c)[1:-1] for c in text)


def describe(source: object, name: str | None = None) -> str:
    """How an input is called in an error; never its content.

    ``name`` wins where given: a server says ``image 2 of the message``
    rather than anything of its own file system.
    """
    if name is not None:
        return shorten(name)
    if isinstance(source, str):
        if source[:5].lower() == 'data:':
            return (f"data URI '{shorten(source[:24])}...' "
                    f'({len(source)} characters)')
        return f"image '{shorten(source)}'"
    if isinstance(source, (bytes, bytearray, memoryview)):
        return f'image bytes ({memoryview(source).nbytes} bytes)'
    if isinstance(source, os.PathLike):
        try:
            return f"image '{shorten(os.fsdecode(source))}'"
        except Exception:  # a path-like object of the user's with a fault
            return f'image of type {type(source).__name__}'
    if hasattr(source, 'read'):
        stream = getattr(source, 'name', None)
        named = f" '{shorten(stream)}'" if isinstance(stream, str) else ''
        return f'image file object{named}'
    return f'image of type {type(source).__name__}'
