# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""From the words on the command line to single images."""

import glob
import os
from argparse import ArgumentTypeError
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import ImageError

# What a folder is searched for. A file named outright may be called anything.
SUFFIXES = frozenset(
    '.bmp .gif .jpeg .jpg .png .tif .tiff .webp'.split())
STANDARD_INPUT = '-'


@dataclass(frozen=True)
class Found:
    """One image to answer, or the reason why there is none.

    Attributes:
        name: What the user is told it is.
        source: Path, data URI or ``-`` for the standard input.
        error: Set where the argument gives no image at all.
    """

    name: str
    source: str
    error: ImageError | None = None


def positive(text: str) -> int:
    """Read a whole number of at least 1, for argparse."""
    if not text.strip().isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f'{text!r} is no whole number of 1 or more')
    return int(text)


def find_images(arguments: Iterable[str],
                recursive: bool = False) -> list[Found]:
    """Turn files, folders and glob patterns into a list of images.

    A folder gives its images in the order of their names; a pattern gives
    its matches likewise, ``**`` crossing folders. A file whose name holds
    ``*`` or ``[`` is taken as that file if it exists. What gives nothing is
    kept, with its error.

    Args:
        arguments: The words, in the user's order.
        recursive: Also look into the folders inside a folder.
    """
    found = []
    for word in arguments:
        if word == STANDARD_INPUT:
            found.append(Found('standard input', word))
        elif word.startswith('data:'):
            found.append(Found(_short(word), word))
        elif os.path.isdir(word):
            found += _folder(word, recursive)
        elif glob.has_magic(word) and not os.path.lexists(word):
            found += _pattern(word, recursive)
        else:
            found.append(Found(word, word))
    return found


def _folder(folder: str, recursive: bool) -> list[Found]:
    walk = Path(folder).rglob('*') if recursive else Path(folder).iterdir()
    try:
        paths = sorted(str(path) for path in walk if _is_image(path))
    except OSError as error:
        reason = error.strerror or str(error)
        return [_nothing(folder, f'cannot list this folder: {reason}.')]
    if not paths:
        deeper = '' if recursive else ', or use --recursive'
        return [_nothing(
            folder, 'no images in this folder (looked for '
            f'{", ".join(sorted(SUFFIXES))}); name the files{deeper}.')]
    return [Found(path, path) for path in paths]


def _pattern(pattern: str, recursive: bool) -> list[Found]:
    matches = sorted(glob.glob(pattern, recursive=True))
    if not matches:
        return [_nothing(pattern, 'no file matches this pattern.')]
    found = []
    for path in matches:
        if not os.path.isdir(path):
            found.append(Found(path, path))
        elif recursive:
            found += _folder(path, recursive)
    return found or [_nothing(pattern, 'only folders match this pattern.')]


def _is_image(path: Path) -> bool:
    hidden = path.name.startswith('.')
    return not hidden and path.suffix.lower() in SUFFIXES and path.is_file()


def _nothing(name: str, reason: str) -> Found:
    return Found(name, name, ImageError(f'{name}: {reason}'))


def _short(word: str, limit: int = 40) -> str:
    return word if len(word) <= limit else f'{word[:limit]}...'
