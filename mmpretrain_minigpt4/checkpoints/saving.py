# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Writing weights so that a crash never costs the old ones."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ..errors import CheckpointError
from .loading import merge_files
from .report import LoadReport

DTYPES = {
    'float32': torch.float32,
    'float16': torch.float16,
    'bfloat16': torch.bfloat16,
}


def write_safetensors(tensors: Mapping[str, Tensor],
                      path: str | os.PathLike,
                      metadata: Mapping[str, str] | None = None) -> Path:
    """Write tensors under a temporary name, then put them in place at once.

    Whatever happens on the way, a full disk or a killed process, ``path``
    holds either its old content or the whole new one.

    Args:
        tensors: Names to tensors on any device.
        path: The file to write.
        metadata: Text to text, kept in the file's header.

    Raises:
        CheckpointError: If the metadata are anything but text.
        OSError: If the file cannot be written; the old one is untouched.
    """
    path = Path(path)
    metadata = dict(metadata or {})
    for key, value in metadata.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise CheckpointError(
                f'Metadata of {str(path)!r}: {key!r} is a '
                f'{type(value).__name__}, only text can be kept; write '
                'str(...) or json.dumps(...) of it.')
    # A copy of each, as safetensors refuses views into shared memory.
    plain = {
        key: tensor.detach().to('cpu', copy=True).contiguous()
        for key, tensor in tensors.items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
    try:
        # No tensors beside an empty dict make a file that cannot be read.
        save_file(plain, temporary, metadata=metadata or None)
        sync(temporary)
        os.replace(temporary, path)
        sync(path.parent)
    except Exception as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise
        raise OSError(f'{str(path)!r} cannot be written: {error}') from error
    return path


def sync(path: Path) -> None:
    """Wait until the disk has it; folders cannot be synced on Windows."""
    if os.name == 'nt' and path.is_dir():
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def save_trained(model: nn.Module,
                 path: str | os.PathLike,
                 metadata: Mapping[str, str] | None = None) -> Path:
    """Save what is trained in a model, and not its frozen billions.

    Args:
        model: The model; parameters with ``requires_grad`` are saved.
        path: The ``.safetensors`` file to write.
        metadata: Text to text, kept in the file's header.

    Raises:
        CheckpointError: If nothing in the model is trained.
        OSError: If the file cannot be written; the old one is untouched.
    """
    trained = {
        name.removeprefix('module.'): parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }
    if not trained:
        raise CheckpointError(
            f'Nothing to save in {os.fspath(path)!r}: no parameter of the '
            'model is trained; see its `freeze`.')
    lora = getattr(model, 'lora', None)
    if lora:  # its scale is in no tensor
        metadata = dict(metadata or {}, lora=json.dumps(dict(lora)))
    return write_safetensors(trained, path, metadata)


def convert_files(paths: Sequence[str | os.PathLike],
                  out: str | os.PathLike,
                  dtype: str | None = None,
                  force: bool = False) -> LoadReport:
    """Merge files of any known layouts into one native safetensors file.

    Args:
        paths: Files or folders; the later wins.
        out: The ``.safetensors`` file to write.
        dtype: ``float32``, ``float16`` or ``bfloat16``; None keeps each.
        force: Whether a file at ``out`` may be replaced.

    Returns:
        Where each tensor came from.

    Raises:
        CheckpointError: If a file cannot be read or understood, or ``out``
            is there already.
        MissingWeightsError: If a file is missing.
        OSError: If ``out`` cannot be written.
    """
    out = Path(out)
    if out.suffix != '.safetensors':
        raise CheckpointError(
            f'{str(out)!r} must end in .safetensors, the one format written.')
    if out.exists() and not force:
        raise CheckpointError(
            f'{str(out)!r} is there already: choose another name, or force '
            'its replacement.')
    if dtype is not None and dtype not in DTYPES:
        raise CheckpointError(
            f'{dtype!r} is no dtype to convert to; choose of {list(DTYPES)}.')
    tensors, report = merge_files(paths)
    if dtype is not None:
        tensors = {
            key: tensor.to(DTYPES[dtype])
            if tensor.is_floating_point() else tensor
            for key, tensor in tensors.items()
        }
    write_safetensors(tensors, out, {'format': 'pt'})
    return report
