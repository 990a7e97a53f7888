# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Where a model's weight files are: in a folder, in the cache, or fetched.

A model's weights are several files, named in one string as a shell names
them, ``https://host/folder/minigpt-4_{eva,qformer,linear}.pth``. What ships
with the package is an ``asset://``. Any other file is looked for, in this
order, under its own path, in the folder ``MINIGPT4_WEIGHTS``, and in the
cache; only an address that is in none of them is fetched. Where
``MINIGPT4_WEIGHTS`` is set nothing is ever fetched.
"""

import hashlib
import os
import re
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

from ..assets import PREFIX, resolve
from ..errors import CheckpointError, MissingWeightsError

OPENMMLAB = 'https://download.openmmlab.com/mmpretrain/v1.0/minigpt4/'

# OpenMMLab's names end in the first digits of the file's SHA-256.
HASH = re.compile(r'-([0-9a-f]{8,64})\.\w+$')

CHUNK = 1 << 20  # bytes


def expand(names: str) -> list[str]:
    """Spell out the file names that a string with braces stands for.

    Args:
        names: For instance ``'folder/{a,b}.pth'``; braces may be nested, and
            braces without a comma are part of the name.

    Returns:
        The names, in order; ``names`` alone if it has no braces.
    """
    # The innermost braces first, and so some names come out twice.
    braces = re.search(r'\{([^{}]*,[^{}]*)\}', names)
    if braces is None:
        return [names]
    head, tail = names[:braces.start()], names[braces.end():]
    spelt = [
        name for part in braces.group(1).split(',')
        for name in expand(head + part + tail)
    ]
    return list(dict.fromkeys(spelt))


def cache_folder() -> Path:
    """Return the folder of fetched files: PyTorch's own, which mmengine uses.

    So a file that the toolbox fetched earlier is not fetched again.
    """
    cache = os.environ.get('XDG_CACHE_HOME', '~/.cache')
    home = os.environ.get('TORCH_HOME', os.path.join(cache, 'torch'))
    return Path(home).expanduser() / 'hub' / 'checkpoints'


def locate(names: str,
           folder: str | os.PathLike | None = None,
           progress: bool = True) -> list[Path]:
    """Find every file of a model's weights, fetching what must be fetched.

    Args:
        names: Paths and addresses in one string, see :func:`expand`.
        folder: A folder to take all files from instead; None means the one
            that ``MINIGPT4_WEIGHTS`` names, if any.
        progress: Show the progress of a download.

    Returns:
        A path for each name.

    Raises:
        MissingWeightsError: If a file is nowhere, or cannot be fetched.
        CheckpointError: If a fetched file is not the one that was named.
    """
    # All that the user must provide is asked for before gigabytes are fetched.
    found = check(names, folder)
    return [
        path or fetch(name, progress=progress)
        for name, path in found.items()
    ]


def check(names: str,
          folder: str | os.PathLike | None = None) -> dict[str, Path | None]:
    """Find what is there, and ask for what the user alone can provide.

    Args:
        names: As for :func:`locate`.
        folder: As for :func:`locate`.

    Returns:
        Each name with its path, None for what is to be fetched.

    Raises:
        MissingWeightsError: If a file is nowhere, and is not to be fetched.
    """
    folder = folder or os.environ.get('MINIGPT4_WEIGHTS')
    found = {name: find_local(name, folder) for name in expand(str(names))}
    missing = [
        name for name, path in found.items()
        if path is None and (folder or not is_url(name))
    ]
    if missing:
        raise MissingWeightsError(_explain(missing, folder))
    return found


def find_local(name: str,
               folder: str | os.PathLike | None = None) -> Path | None:
    """Look for one file under its own path, in a folder, and in the cache.

    OpenMMLab published the same file under several names; in a folder, one
    whose name ends in the same hash is taken for it.
    """
    if name.startswith(PREFIX):
        return Path(resolve(name))
    if not is_url(name) and Path(name).expanduser().exists():
        return Path(name).expanduser()
    if folder:
        folder = Path(folder).expanduser()
        if (folder / Path(name).name).is_file():
            return folder / Path(name).name
        digest = HASH.search(name)
        return next(folder.glob(f'*{digest.group(0)}'), None) \
            if digest else None
    cached = cache_folder() / Path(name).name
    return cached if is_url(name) and cached.is_file() else None


def is_url(name: str) -> bool:
    """Whether a name is an address to fetch rather than a path."""
    return name.startswith(('https://', 'http://'))


def fetch(url: str,
          folder: str | os.PathLike | None = None,
          progress: bool = True,
          tries: int = 4) -> Path:
    """Fetch one file into the cache, once.

    An interrupted download goes on where it broke off, in this call and in
    the next; the file gets its name when it is whole and its SHA-256 begins
    as the name says, so a file that is there is a good one.

    Args:
        url: The address.
        folder: Where to put it; None means :func:`cache_folder`.
        progress: Show the progress on stderr.
        tries: Connections to try before giving up.

    Raises:
        MissingWeightsError: If it cannot be fetched.
        CheckpointError: If what came is not the file that was named.
    """
    folder = Path(folder) if folder else cache_folder()
    target = folder / Path(url).name
    if target.is_file():
        return target
    from filelock import FileLock
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # The ranks of a distributed run all ask; one fetches, the rest wait.
        with FileLock(f'{target}.lock'):
            if not target.is_file():
                part = target.with_name(target.name + '.part')
                _download(url, part, progress, tries)
                _check(part, url)
                os.replace(part, target)
    except (OSError, HTTPException) as error:
        if isinstance(error, MissingWeightsError):
            raise
        reason = getattr(error, 'reason', None) or error
        raise MissingWeightsError(
            f'Cannot fetch {url} into {folder}: {reason}. Fetch it by hand '
            'and set MINIGPT4_WEIGHTS to its folder, or run this again: a '
            'download that broke off goes on.') from error
    return target


def _download(url: str, part: Path, progress: bool, tries: int) -> None:
    for left in reversed(range(tries)):
        try:
            _receive(url, part, progress)
            return
        except urllib.error.HTTPError as error:
            # 416: the part is as long as the file, or longer than it.
            if error.code == 416 and part.is_file():
                part.unlink()
            elif error.code < 500:
                raise
            if not left:
                raise
        except (OSError, HTTPException):
            if not left:
                raise
        time.sleep(0.2 * (tries - left))


def _receive(url: str, part: Path, progress: bool) -> None:
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(
        url, headers={'User-Agent': 'mmpretrain_minigpt4'})
    if have:
        request.add_header('Range', f'bytes={have}-')
    with urllib.request.urlopen(request, timeout=30) as reply:
        # A server that knows no ranges sends the whole file again.
        have = have if reply.status == 206 else 0
        length = reply.headers.get('Content-Length')
        total = have + int(length) if length else None
        if total and total - have > shutil.disk_usage(part.parent).free:
            raise MissingWeightsError(
                f'{url} takes {total:,} bytes, more than is free in '
                f'{part.parent}. Make room, or set TORCH_HOME to a folder '
                'on a larger disk.')
        with open(part, 'ab' if have else 'wb') as file, \
                _progress(url, have, total, progress) as advance:
            while chunk := reply.read(CHUNK):
                file.write(chunk)
                advance(len(chunk))
            file.flush()
            os.fsync(file.fileno())
    if total and part.stat().st_size != total:
        raise ConnectionError(
            f'the connection ended after {part.stat().st_size:,} of '
            f'{total:,} bytes')


def _check(part: Path, url: str) -> None:
    name = HASH.search(url)
    if name is None:
        return
    sha256 = hashlib.sha256()
    with open(part, 'rb') as file:
        while chunk := file.read(CHUNK):
            sha256.update(chunk)
    if not sha256.hexdigest().startswith(name.group(1)):
        part.unlink()
        raise CheckpointError(
            f'{url} is not the file it is named after: its SHA-256 begins '
            f'{sha256.hexdigest()[:len(name.group(1))]}, not '
            f'{name.group(1)}. It was deleted; run this again, and if that '
            'does not help something between here and the server changes '
            'what is sent.')


@contextmanager
def _progress(url: str, have: int, total: int | None,
              show: bool) -> Iterator[Callable[[int], None]]:
    """Show a bar on a terminal, a line at the start in a log."""
    if show and sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TimeRemainingColumn,
        )
        bar = Progress(
            '{task.description}',
            BarColumn(),
            DownloadColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True))
        with bar:
            task = bar.add_task(Path(url).name, total=total, completed=have)
            yield lambda n: bar.advance(task, n)
        return
    if show:
        size = f'{total:,} bytes' if total else 'of unknown size'
        print(f'Fetching {url} ({size})', file=sys.stderr, flush=True)
    yield lambda n: None


def _explain(missing: list[str], folder: str | os.PathLike | None) -> str:
    lines = '\n'.join(f'  {name}' for name in missing)
    if folder:
        return (f'The folder {folder} lacks\n{lines}\n'
                'Put them there, or name no such folder (--weights, '
                'MINIGPT4_WEIGHTS) to have what is public fetched.')
    return (f'These weights are not there:\n{lines}\n'
            'Put them there, or set MINIGPT4_WEIGHTS to the folder that '
            'holds them; configs/minigpt4/README.md says where they come '
            'from.')
