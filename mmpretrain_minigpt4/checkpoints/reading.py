# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Reading weights from files that nobody vouches for."""

import json
import os
import pickle
import re
import stat
import warnings
import zipfile
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..assets import resolve
from ..errors import CheckpointError, MissingWeightsError
from .conversion import unwrap

INDEX_SUFFIXES = ('.safetensors.index.json', '.bin.index.json')
WEIGHT_SUFFIXES = ('.safetensors', '.bin', '.pth', '.pt')


def read_state_dict(path: str | os.PathLike) -> dict[str, Tensor]:
    """Read the tensors of a file or folder, whatever their names are.

    Args:
        path: A ``.safetensors`` file, a ``.pth`` of tensors and plain types,
            a folder of sharded weights with their index, a folder with one
            file of weights, or an ``asset://`` address.

    Raises:
        MissingWeightsError: If there is nothing at ``path``.
        CheckpointError: If it is damaged, of another format, or would run
            code to be read.
    """
    path = Path(resolve(os.fspath(path)))
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        raise MissingWeightsError(
            f'There is no checkpoint at {str(path)[:300]!r} '
            f'({getattr(error, "strerror", None) or error}); check the path, '
            'and fetch the file first if it is an address.') from error
    if stat.S_ISDIR(mode):
        return _read_folder(path)
    if not stat.S_ISREG(mode):
        raise CheckpointError(f'{str(path)!r} is not a regular file.')
    return _read_file(path)


def _read_file(path: Path) -> dict[str, Tensor]:
    """Read one file by what its first bytes say that it is."""
    name = repr(str(path))
    with open(path, 'rb') as file:
        head = file.read(32)
    if not head:
        raise CheckpointError(
            f'{name} is empty (0 bytes): its download or its writing was '
            'broken off. Delete it and fetch it again.')
    if head.startswith(b'version https://git-lfs'):
        raise CheckpointError(
            f'{name} is a Git LFS pointer, not the weights: run '
            '`git lfs pull` in its folder.')
    if head[8:9] == b'{':
        return _read_safetensors(path, name)
    if head.startswith((b'PK\x03\x04', b'\x80')):
        return _read_torch(path, name)
    if path.suffix in WEIGHT_SUFFIXES:
        raise CheckpointError(
            f'{name} is no {path.suffix} file inside: it is damaged, or a '
            'web page saved under that name. Fetch it again.')
    raise CheckpointError(
        f'{name} is neither safetensors nor a .pth of torch; only these are '
        'read.')


def _read_safetensors(path: Path, name: str) -> dict[str, Tensor]:
    try:
        return unwrap(load_file(path), name)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f'{name} is damaged ({error}): its download or its writing was '
            'broken off, or it was tampered with. Fetch it again.') from error


def _read_torch(path: Path, name: str) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings():
            # It warns of odd pickles and then refuses them.
            warnings.simplefilter('ignore')
            # Mapping the file keeps optimiser states out of memory.
            content = torch.load(
                path,
                map_location='cpu',
                weights_only=True,
                mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        found = re.search(r'(?:GLOBAL|global|class|function) ([\w.]+\.\w+)',
                          str(error))
        what = f'`{found.group(1)}`' if found else 'something else'
        raise CheckpointError(
            f'{name} holds {what} where only tensors and plain types are '
            'read, as anything else can run code when it is opened. It was '
            'not opened. Ask for the weights as .safetensors, or save '
            'model.state_dict() alone where you trust the file; if you '
            'expected tensors alone, it is damaged: fetch it again.'
        ) from error
    except Exception as error:  # torch raises many kinds on damaged files
        raise CheckpointError(
            f'{name} is damaged ({_first_line(error)}): its download or its '
            'writing was broken off. Delete it and fetch it again.'
        ) from error
    return unwrap(content, name)


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0][:200]


def _read_folder(folder: Path) -> dict[str, Tensor]:
    """Read a folder with an index of shards, or with one file of weights."""
    for suffix in INDEX_SUFFIXES:
        for index in sorted(folder.glob(f'*{suffix}')):
            return _read_shards(folder, index)
    for suffix in WEIGHT_SUFFIXES:
        files = sorted(folder.glob(f'*{suffix}'))
        if len(files) == 1:
            return _read_file(files[0])
        if files:
            raise CheckpointError(
                f'{str(folder)!r} holds {len(files)} {suffix} files and no '
                f'index ({"model" + INDEX_SUFFIXES[0]!r}) that says how they '
                'belong together: fetch the index too, or name one file.')
    raise MissingWeightsError(
        f'{str(folder)!r} holds no weights: expected '
        f'{", ".join("*" + suffix for suffix in WEIGHT_SUFFIXES)}.')


def _read_shards(folder: Path, index: Path) -> dict[str, Tensor]:
    name = repr(str(index))
    try:
        weight_map = json.loads(index.read_bytes())['weight_map']
        places = {str(key): str(file) for key, file in weight_map.items()}
    except (ValueError, KeyError, TypeError, AttributeError,
            RecursionError) as error:
        raise CheckpointError(
            f'{name} is not an index of shards ({_first_line(error)}): '
            'fetch it again.') from error
    tensors: dict[str, Tensor] = {}
    for file in sorted(set(places.values())):
        if file != Path(file).name or file in ('', '.', '..'):
            raise CheckpointError(
                f'{name} names the shard {file!r}, which does not lie '
                'in the same folder: it is not read.')
        if not (folder / file).is_file():
            raise MissingWeightsError(
                f'The shard {file!r} that {name} names is missing: fetch it '
                'into the same folder.')
        tensors.update(_read_file(folder / file))
    lost = [key for key in places if key not in tensors]
    if lost:
        raise CheckpointError(
            f'{name} promises {len(lost)} tensors that are in none of its '
            f'shards, {lost[0]!r} for one: index and shards are of different '
            'versions. Fetch both again.')
    return tensors
