# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Path, file object, data URI -> the bytes of one file, within limits."""

import base64
import binascii
import difflib
import errno
import itertools
import os
import re
import stat
from typing import Any

from ..errors import ImageError
from .limits import ImageLimits, refusal, shorten

# A scheme of two letters or more: 'C:\\cat.jpg' is a path on Windows.
_URL = re.compile(r'\s*([a-z][a-z0-9+.\-]+)(://|:/(?=[^/]))', re.IGNORECASE)
_SPACE = re.compile(r'\s+')
_CHUNK = 2**20
# errno -> what is wrong with the path, and the fix.
_PATH_FAULTS = {
    errno.EACCES: ('you may not read it', 'Change its permissions'),
    errno.EISDIR: ('it is a directory', 'Give one image file in it'),
    errno.ELOOP: ('its symbolic links go round in a circle',
                  'Mend the link'),
    errno.ENAMETOOLONG: ('the path is too long',
                         "If it is base64 text, put 'data:image/jpeg;base64,'"
                         ' before it'),
    errno.ENOTDIR: ('a part of its path is a file, not a directory',
                    'Check the path'),
}


def read_source(source: Any, limits: ImageLimits, label: str) -> bytes:
    """The encoded bytes of an image that is not an array or PIL image.

    Raises:
        ImageError: If there is nothing to read, or too much.
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        limits.check_bytes(label, memoryview(source).nbytes)
        return bytes(source)
    if isinstance(source, str):
        if source[:64].lstrip()[:5].lower() == 'data:':
            return _read_data_uri(source.strip(), limits, label)
        scheme = _URL.match(source[:64])
        if scheme:
            raise refusal(
                label, f"'{scheme[1]}' addresses are never fetched",
                'Give a path, or download it and pass its bytes')
        return _read_path(source, limits, label)
    if isinstance(source, os.PathLike):
        try:
            path = os.fsdecode(source)
        except Exception as error:  # a fault in the user's __fspath__
            raise refusal(label, 'it gives no path', 'Pass a str') from error
        return _read_path(path, limits, label)
    if hasattr(source, 'read'):
        return _read_file_object(source, limits, label)
    raise refusal(label, *_wrong_type(source))


def _wrong_type(source: Any) -> tuple[str, str]:
    """The problem and the fix for something that is no image at all."""
    if source is None:
        return 'there is no image', 'Give a path, bytes or an array'
    if type(source).__module__.partition('.')[0] == 'torch':
        return ('a tensor does not say its range and channel order',
                'Pass a uint8 H x W x 3 array with channel_order')
    if isinstance(source, (list, tuple, set, dict)):
        return ('several images cannot be read as one',
                'Give them one at a time')
    return ('this type cannot hold an image',
            'Give a path, bytes, a file object, a PIL image, a NumPy array '
            'or a data URI')


def _read_path(path: str, limits: ImageLimits, label: str) -> bytes:
    """A regular file's bytes; a FIFO or device is refused unopened."""
    if not path.strip():
        raise refusal(label, 'the path is empty', 'Give the path of an image')
    # Without O_NONBLOCK a FIFO put there after the look would hang.
    flags = (os.O_RDONLY | getattr(os, 'O_NONBLOCK', 0)
             | getattr(os, 'O_BINARY', 0) | getattr(os, 'O_CLOEXEC', 0))
    try:
        # Looked at before it is opened: opening some devices acts on them.
        _check_regular(os.stat(path), limits, label)
        descriptor = os.open(path, flags)
        with open(descriptor, 'rb') as file:
            _check_regular(os.fstat(descriptor), limits, label)
            return _read_all(file, limits, label)
    except FileNotFoundError as error:
        raise refusal(label, 'there is no such file',
                      _near_names(path)) from error
    except OSError as error:
        fault = _PATH_FAULTS.get(error.errno, (
            shorten(error.strerror or str(error)),
            'Check the path and the disk'))
        raise refusal(label, *fault) from error
    except ImageError:
        raise
    except ValueError as error:  # a null byte, a lone surrogate
        raise refusal(label, 'the path holds a character that no path may',
                      'Check the path') from error


def _check_regular(info: os.stat_result, limits: ImageLimits,
                   label: str) -> None:
    if stat.S_ISDIR(info.st_mode):
        raise refusal(label, *_PATH_FAULTS[errno.EISDIR])
    if not stat.S_ISREG(info.st_mode):
        raise refusal(label, 'it is a pipe, socket or device',
                      'Give a regular file, or read it and pass its bytes')
    if info.st_size > limits.max_bytes:
        limits.check_bytes(label, info.st_size)


def _near_names(path: str) -> str:
    """The fix for a missing file: names like it, where there are some."""
    folder, name = os.path.split(path)
    try:
        with os.scandir(folder or os.curdir) as entries:
            names = [e.name for e in itertools.islice(entries, 2000)]
    except OSError:
        return f"Its directory '{shorten(folder)}' cannot be listed"
    near = difflib.get_close_matches(name, names, n=3)
    if near:
        return 'Did you mean ' + ' or '.join(
            f"'{shorten(n, 60)}'" for n in near)
    return 'Check the path; relative paths start at the current directory'


def _read_file_object(file: Any, limits: ImageLimits, label: str) -> bytes:
    """A binary file object from its start, as Pillow reads one."""
    try:
        try:
            file.seek(0)
        except (AttributeError, OSError):
            pass  # a pipe or socket: what is left of it
        return _read_all(file, limits, label)
    except ImageError:
        raise
    except Exception as error:  # the object may be anyone's
        raise refusal(label, f'reading failed ({shorten(str(error))})',
                      'Give an open file in binary mode') from error


def _read_all(file: Any, limits: ImageLimits, label: str) -> bytes:
    """Everything, but never more than one piece above the limit."""
    pieces, count = [], 0
    while count <= limits.max_bytes:
        piece = file.read(_CHUNK)
        if not piece:
            break
        if not isinstance(piece, bytes):
            raise TypeError('it gives text, not bytes')
        pieces.append(piece)
        count += len(piece)
    limits.check_bytes(label, count)
    return b''.join(pieces)


def _read_data_uri(uri: str, limits: ImageLimits, label: str) -> bytes:
    """The bytes of ``data:image/...;base64,...``.

    What can have one meaning only is taken: line breaks, the URL-safe
    alphabet, percent signs for ``+ / =``, missing or extra padding.
    """
    comma = uri.find(',')
    if comma < 0:
        raise refusal(label, 'it has no comma after its header',
                      "Write 'data:image/jpeg;base64,' and then the data")
    media, *parameters = [part.strip().lower()
                          for part in uri[5:comma].split(';')]
    if not media.startswith('image/'):
        raise refusal(
            label, f"its media type '{shorten(media, 40)}' is no image",
            "Write 'data:image/jpeg;base64,' and then the data")
    if 'base64' not in parameters:
        raise refusal(label, 'it is not base64',
                      "Write ';base64' before the comma and encode the data")
    length = len(uri) - comma - 1
    if length > 2 * limits.max_bytes + 1024:  # before it is copied
        limits.check_bytes(label, length * 3 // 4)
    text = _SPACE.sub('', uri[comma + 1:])
    for code, letter in (('%2b', '+'), ('%2f', '/'), ('%3d', '=')):
        if '%' in text:
            text = text.replace(code, letter).replace(code.upper(), letter)
    text = text.rstrip('=').replace('-', '+').replace('_', '/')
    limits.check_bytes(label, len(text) * 3 // 4)
    try:
        return base64.b64decode(text + '=' * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise refusal(label, 'its base64 is broken or cut short',
                      'Encode the file again') from error
