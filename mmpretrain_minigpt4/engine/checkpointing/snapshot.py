# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Training checkpoints on disk: whole or absent, and nothing executable.

A checkpoint is a folder ``iter_000500/`` with a few safetensors files and
``state.json``, which lists the size and SHA-256 of each. The folder is
filled under a temporary name, synced, and put in place by one rename, so a
name that ends in digits only ever stands for all of a checkpoint; if the
disk loses something later, the digests tell.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ...checkpoints.saving import sync, write_safetensors
from ...errors import CheckpointError

FORMAT = 'mmpretrain_minigpt4.training'
VERSION = 1
STATE = 'state.json'
FOLDER = re.compile(r'iter_(\d{6,})')
LEFTOVER = re.compile(r'\.iter_\d{6,}\.(tmp|old)')
SUPERSEDED = 'superseded'


@dataclass(frozen=True)
class Snapshot:
    """A checkpoint that was found whole.

    Attributes:
        path: Its folder.
        state: The content of ``state.json``.
    """
    path: Path
    state: dict[str, Any]

    @property
    def iteration(self) -> int:
        """How many steps had been done."""
        return int(self.state['iteration'])

    def tensors(self, name: str) -> dict[str, Tensor]:
        """Read one of the safetensors files, given without its suffix."""
        return load_file(self.path / f'{name}.safetensors')


def folder_name(iteration: int) -> str:
    """The name of the folder of a checkpoint."""
    return f'iter_{iteration:06d}'


def write_snapshot(root: str | os.PathLike, iteration: int,
                   tensors: Mapping[str, Mapping[str, Tensor]],
                   state: Mapping[str, Any]) -> Path:
    """Write a checkpoint, or leave everything as it was.

    Args:
        root: The folder in which checkpoints lie.
        iteration: How many steps have been done.
        tensors: File names without suffix to named tensors.
        state: Plain JSON types.

    Returns:
        The checkpoint's folder.

    Raises:
        CheckpointError: If it cannot be written; what was there before is
            untouched.
    """
    root = Path(root)
    final = root / folder_name(iteration)
    temporary = root / f'.{final.name}.tmp-{os.getpid()}'
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        files = {}
        for name, content in tensors.items():
            path = write_safetensors(content,
                                     temporary / f'{name}.safetensors')
            files[path.name] = _fingerprint(path)
        _write_state(
            temporary / STATE,
            dict(
                state,
                format=FORMAT,
                format_version=VERSION,
                iteration=iteration,
                files=files))
        sync(temporary)
        if final.exists():
            set_aside([final])
        os.rename(temporary, final)
        sync(root)
    except (OSError, ValueError, TypeError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise CheckpointError(
            f'The checkpoint {str(final)!r} cannot be written: {error}. '
            'Those before it are whole. Make room or fix the permissions, '
            'and go on with --resume.') from error
    return final


def read_snapshot(path: str | os.PathLike) -> Snapshot:
    """Open a checkpoint, once every byte of it is as it was written.

    Args:
        path: Its folder.

    Raises:
        CheckpointError: If it is not one, not whole, or of a later format.
    """
    path = Path(path)
    if path.is_file():
        raise CheckpointError(
            f'{str(path)!r} is a file; a run resumes from the folder of a '
            'checkpoint (iter_000500/) or from the folder of its run. '
            'Weights alone are loaded by model.checkpoints.')
    try:
        content = json.loads((path / STATE).read_bytes())
        digest = content.pop('sha256')
        files = content['files']
        if content['format'] != FORMAT or digest != _digest(content):
            raise ValueError('its content is not what was written')
        if content['format_version'] > VERSION:
            raise CheckpointError(
                f'{str(path)!r} was written by a later version of this '
                'package: install that one to go on with it.')
        for name, fingerprint in files.items():
            if Path(name).name != name:
                raise ValueError(f'{name!r} is no plain file name')
            if _fingerprint(path / name) != fingerprint:
                raise ValueError(f'{name} is not what was written')
        int(content['iteration'])
    except CheckpointError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError,
            RecursionError, SafetensorError) as error:
        reason = (f'{error} is missing' if isinstance(error, KeyError)
                  else str(error))
        raise CheckpointError(
            f'{str(path)!r} is not a whole checkpoint: {reason}.') from error
    return Snapshot(path, content)


def list_snapshots(root: str | os.PathLike) -> list[Path]:
    """The folders named like checkpoints, the newest first."""
    found = [
        path for path in Path(root).glob('iter_*')
        if FOLDER.fullmatch(path.name) and path.is_dir()
    ]
    return sorted(found, key=iteration_of, reverse=True)


def newest_whole(root: str | os.PathLike
                 ) -> tuple[Snapshot | None, list[str]]:
    """Find the newest checkpoint that is whole.

    Args:
        root: The folder in which checkpoints lie.

    Returns:
        tuple: The checkpoint, None if there is none, and what is wrong with
        each newer one.
    """
    problems = []
    for path in list_snapshots(root):
        try:
            return read_snapshot(path), problems
        except CheckpointError as error:
            problems.append(str(error))
    return None, problems


def prune(root: str | os.PathLike, keep: int) -> list[Path]:
    """Delete all but the newest checkpoints.

    Args:
        root: The folder in which checkpoints lie.
        keep: How many to keep.

    Returns:
        Those deleted.
    """
    old = list_snapshots(root)[keep:]
    for path in old:
        # Renamed first, so that no half-deleted one is taken for whole.
        grave = path.with_name(f'.{path.name}.old-{os.getpid()}')
        os.rename(path, grave)
        shutil.rmtree(grave, ignore_errors=True)
    return old


def remove_leftovers(root: str | os.PathLike) -> None:
    """Delete what killed processes left under temporary names."""
    for path in Path(root).glob('.iter_*'):
        if LEFTOVER.match(path.name):
            shutil.rmtree(path, ignore_errors=True)


def set_aside(paths: list[Path]) -> Path | None:
    """Move checkpoints that another run goes past into ``superseded/``.

    Args:
        paths: Checkpoints of one run.

    Returns:
        The folder they are in now, None if there was nothing to move.
    """
    if not paths:
        return None
    home = paths[0].parent / SUPERSEDED
    number = 1
    while (home / str(number)).exists():
        number += 1
    home = home / str(number)
    home.mkdir(parents=True)
    for path in paths:
        os.rename(path, home / path.name)
    return home


def iteration_of(path: Path) -> int:
    """The number in the name of a checkpoint's folder."""
    return int(FOLDER.fullmatch(path.name).group(1))


def _fingerprint(path: Path) -> dict[str, Any]:
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
        return dict(bytes=file.tell(), sha256=digest.hexdigest())


def _digest(state: Mapping[str, Any]) -> str:
    text = json.dumps(state, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _write_state(path: Path, state: dict[str, Any]) -> None:
    # Through JSON once, so that the digest is of what will be read.
    state = json.loads(json.dumps(state))
    with open(path, 'w', encoding='utf-8') as file:
        json.dump(dict(state, sha256=_digest(state)), file)
        file.flush()
        os.fsync(file.fileno())
