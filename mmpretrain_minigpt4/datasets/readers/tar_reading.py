# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""One shard: a tar in which files of the same stem are one sample."""

import os
from collections.abc import Iterator, Sequence
from typing import Any

from ...errors import DatasetError


class ShardError(DatasetError):
    """A shard cannot be read, or not to its end."""


def expand_shards(patterns: str | Sequence[str]) -> list[str]:
    """Write out ``{00000..00127}`` in names of shards.

    Raises:
        DatasetError: If webdataset is not installed, or nothing is named.
    """
    webdataset()
    from braceexpand import braceexpand
    patterns = [patterns] if isinstance(patterns, str) else list(patterns)
    names = [name for pattern in patterns for name in braceexpand(pattern)]
    if not names:
        raise DatasetError('shards names no file. Give for instance '
                           'data/laion/{00000..00127}.tar.')
    return names


def webdataset():
    """The package's reader of tar files.

    Raises:
        DatasetError: If it is not installed.
    """
    try:
        from webdataset import tariterators
    except ImportError as error:
        raise DatasetError(
            'Shards are read by the package webdataset, which is not '
            "installed: pip install 'mmpretrain-minigpt4[train]'.") from error
    return tariterators


def is_local(shard: str) -> bool:
    """Whether a shard is a file here, rather than an address or a pipe."""
    return '://' not in shard and not shard.startswith('pipe:')


def read_shard(shard: str) -> Iterator[dict[str, Any]]:
    """The samples of a shard: bytes by suffix, ``__key__`` and ``__url__``.

    Yields:
        What can be read, in order.

    Raises:
        ShardError: After that, if there should have been more.
    """
    tar = webdataset()
    number = 0
    try:
        files = tar.tar_file_expander(tar.url_opener([dict(url=shard)]))
        for sample in tar.group_by_keys(files):
            yield sample
            number += 1
    except FileNotFoundError as error:
        raise ShardError(
            'There is no such file. Fetch it (docs/data.md tells how), or '
            'take it off the list of shards.') from error
    except GeneratorExit:
        raise
    except Exception as error:
        raise ShardError(
            f'After {number:,} samples it cannot be read any further '
            f'({type(error).__name__}: {_first(error)}). Fetch it '
            'again.') from error
    if is_local(shard) and not has_tar_end(shard):
        # Python's tarfile takes a header that is cut short for the end.
        raise ShardError(
            f'It is cut short after {number:,} samples. Fetch it again.')


def has_tar_end(path: str) -> bool:
    """Whether a plain tar ends in the two empty blocks that it should.

    Compressed files are taken to, since their readers notice.
    """
    with open(path, 'rb') as file:
        if file.read(2) in (b'\x1f\x8b', b'BZ', b'\xfd7', b'(\xb5'):
            return True
        size = file.seek(0, os.SEEK_END)
        if size < 1024 or size % 512:
            return False
        file.seek(-1024, os.SEEK_END)
        return not any(file.read())


def _first(error: Exception) -> str:
    return str(error.args[0])[:120] if error.args else 'no reason given'
