# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""From a language model and its LoRA to a language model."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from torch import Tensor, nn

from ..assets import resolve
from ..checkpoints.loading import load_state, merge_files
from ..checkpoints.report import LoadReport
from ..checkpoints.saving import write_safetensors
from ..errors import CheckpointError, ConfigError
from ..llm import loader, lora

REST = 'minigpt4.safetensors'  # what was trained beside the LoRA
PREFIX = 'head.llm.'
# Everything else in a folder is the tokenizer, settings and licences.
WEIGHTS = ('.safetensors', '.bin', '.pth', '.pt', '.index.json', '.gguf',
           '.msgpack', '.h5', '.onnx')
OWN = ('config.json', )  # written anew
DTYPES = dict(
    float32=torch.float32, float16=torch.float16, bfloat16=torch.bfloat16)


def merge_lora(config: Config,
               checkpoint: str | os.PathLike,
               out: str | os.PathLike,
               dtype: str = 'auto') -> int:
    """Write a merged language model as a folder in Hugging Face format.

    The sum is computed in float32 and rounded once, to the type written.

    Args:
        config: With ``model.lora`` and ``model.head``.
        checkpoint: What the training saved.
        out: The folder, which must not be there or be empty.
        dtype: ``float32``, ``float16``, ``bfloat16``, or ``auto`` for that
            of the language model's own folder.

    Returns:
        How many other tensors of the checkpoint were written beside it.

    Raises:
        ConfigError: If the config has no LoRA.
        CheckpointError: If the checkpoint has none, or a folder is in the
            way.
        MissingWeightsError: If a file or the language model is missing.
    """
    settings = config.model.to_dict()
    if not settings.get('lora'):
        raise ConfigError(
            'The config has no model.lora, so there is nothing to merge. '
            'Give the config that the checkpoint was trained with.')
    source = settings['head'].get('llm')
    if not isinstance(source, str):
        raise ConfigError('model.head.llm must name a folder to be merged '
                          f'with, it is {source!r}.')
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CheckpointError(f'{str(out)!r} is there already. Choose '
                              'another --out, or delete it.')
    lora.check_lora(settings['lora'])
    tensors, report = merge_files([checkpoint])
    lora.check_scale([os.fspath(checkpoint)], settings['lora'])
    if not any(lora.MARK in key for key in tensors):
        raise CheckpointError(
            f'{os.fspath(checkpoint)!r} holds no LoRA: its tensors are '
            f'{", ".join(list(tensors)[:3])} ...')
    head = MODELS.build(dict(settings['head'], dtype='float32'))
    own = loader.find(source).config.dtype or torch.float32
    lora.add_lora(head.llm, **settings['lora'])
    _load(head, tensors, report)
    lora.merge_lora(head.llm)
    head.llm.to(DTYPES.get(dtype, own))
    rest = {k: x for k, x in tensors.items() if not k.startswith(PREFIX)}
    _write(head.llm, Path(resolve(source)).expanduser(), out, rest)
    return len(rest)


def _load(head: nn.Module, tensors: Mapping[str, Tensor],
          report: LoadReport) -> None:
    """Fill in the LoRA, strictly."""
    mine = {k: x for k, x in tensors.items() if k.startswith(PREFIX)}
    report.sources = {k: report.sources[k] for k in mine}
    model = nn.Module()
    model.head = head
    load_state(model, mine, report, allow_missing=(PREFIX, ))
    lora.check_loaded(head.llm, list(mine), PREFIX)


def _write(llm: nn.Module, source: Path, out: Path,
           rest: Mapping[str, Tensor]) -> None:
    """Write beside, then put in place at once."""
    temporary = out.with_name(f'.{out.name}.{os.getpid()}.tmp')
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        llm.save_pretrained(temporary)
        for path in sorted(source.iterdir()):
            if path.is_file() and path.name not in OWN and not (
                    path.name.endswith(WEIGHTS)):
                shutil.copyfile(path, temporary / path.name)
        if rest:
            write_safetensors(rest, temporary / REST, {'format': 'pt'})
        if out.is_dir():
            out.rmdir()
        os.replace(temporary, out)
    except OSError as error:
        raise CheckpointError(
            f'{str(out)!r} cannot be written: {error}.') from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
