# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Scores, with all that one needs to judge or to repeat them."""

import hashlib
import json
import math
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from ... import __version__
from ...checkpoints import download
from ...errors import MiniGPT4Error
from .fingerprint import digest

PACKAGES = ('torch', 'transformers', 'mmengine', 'mmpretrain', 'numpy')


def make_summary(*,
                 title: str,
                 notes: Mapping[str, str],
                 config: str | None,
                 metrics: Mapping[str, float],
                 settings: Mapping[str, Any],
                 records: Sequence[dict],
                 found: Mapping[tuple, dict],
                 total: int,
                 cfg: Mapping,
                 device: torch.device | None,
                 seed: int | None,
                 run: Mapping[str, Any]) -> dict[str, Any]:
    """Put a run's summary together.

    Args:
        title: Name of the benchmark.
        notes: What its config says of prompt, files and published scores.
        config: The config's file.
        metrics: The scores.
        settings: See :func:`~.fingerprint.read_settings`.
        records: All samples, with answers or with ``failed``.
        found: See :func:`~.scoring.per_sample_results`.
        total: How many samples the data set has.
        cfg: The run's config.
        device: Where the model was, if there was one.
        seed: Of this run's random numbers.
        run: Times, and how many processes there were.
    """
    failed = [x for x in records if 'failed' in x]
    unread = [detail for detail in found.values()
              if 'extracted' in detail and detail['extracted'] is None]
    reads = any('extracted' in detail for detail in found.values())
    # An instruction that no sample was given would mislead.
    with_question = {bool(x.get('question')) for x in records}
    return dict(
        benchmark=title,
        config=config,
        metrics=dict(metrics),
        samples=dict(
            answered=len(records) - len(failed),
            failed=len(failed),
            of=total,
            not_extracted=len(unread) if reads else None),
        prompt=settings.get('prompt') if False in with_question else None,
        question_template=settings.get('question_template')
        if True in with_question else None,
        template=settings.get('template'),
        decoding=settings.get('decoding'),
        extraction=notes.get('Extraction'),
        published=notes.get('Published'),
        seed=seed,
        precision=settings.get('precision'),
        weights=settings.get('weights'),
        checkpoints=checkpoint_hashes(cfg),
        llm=_llm(cfg),
        data=settings.get('data'),
        settings=digest(settings),
        device=_device(device),
        versions=versions(),
        **run,
        failures=[
            dict(index=x['index'], id=_name(x), reason=x['failed'])
            for x in failed
        ],
        not_extracted=[
            dict(id=x['id'], answer=x['answer']) for x in unread
        ])


def versions() -> dict[str, str]:
    """Of this package and of what it computes with."""
    found = dict(mmpretrain_minigpt4=__version__,
                 python=platform.python_version())
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def checkpoint_hashes(cfg: Mapping) -> dict[str, str | None]:
    """SHA-256 of each checkpoint of the config, as ``sha256sum`` gives it.

    None for one that lies nowhere, as when a model was handed in.
    """
    model = cfg.get('model')
    names = model.get('checkpoints') if isinstance(model, Mapping) else None
    found: dict[str, str | None] = {}
    for name in names or []:
        try:
            paths = download.check(str(name))
        except MiniGPT4Error:
            paths = {str(name): None}
        for one, path in paths.items():
            found[one] = None if path is None else _sha256(Path(path))
    return found


def _sha256(path: Path) -> str | None:
    if not path.is_file():
        return None
    total = hashlib.sha256()
    with path.open('rb') as file:
        while chunk := file.read(1 << 22):
            total.update(chunk)
    return total.hexdigest()


def write_json(path: str | Path, content: Any) -> None:
    """Write a file as a whole; numbers that are none become null."""
    path = Path(path)
    partial = path.with_name(path.name + '.part')
    partial.write_text(
        json.dumps(_finite(content), indent=1, ensure_ascii=False) + '\n',
        encoding='utf-8', errors='backslashreplace')
    os.replace(partial, path)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [_finite(v) for v in value]
    return value


def _llm(cfg: Mapping) -> str | None:
    model = cfg.get('model')
    head = model.get('head') if isinstance(model, Mapping) else None
    llm = head.get('llm') if isinstance(head, Mapping) else None
    return llm if isinstance(llm, str) else None


def _device(device: torch.device | None) -> str | None:
    if device is None:
        return None
    if device.type == 'cuda':
        return torch.cuda.get_device_name(device)
    return f'{device.type} ({platform.machine()}, {torch.get_num_threads()} ' \
           'threads)'


def _name(record: Mapping) -> Any:
    return record.get('question_id', record.get('image_id'))
