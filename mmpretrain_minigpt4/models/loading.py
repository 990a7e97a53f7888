# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Filling a model's parts from its checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmengine.logging import print_log

from ..checkpoints import download
from ..checkpoints.loading import load_checkpoints
from ..checkpoints.report import LoadReport
from ..features.loading import load_without_vision
from ..llm import lora as lora_

if TYPE_CHECKING:
    from .minigpt4 import MiniGPT4


def load_parts(model: MiniGPT4, checkpoints: Sequence[str],
               from_scratch: Sequence[str]) -> LoadReport:
    """Load checkpoints strictly.

    Args:
        model: Built, its parts perhaps without memory.
        checkpoints: Names of files.
        from_scratch: Parts that may be missing in them, besides a language
            model that has its own folder.

    Raises:
        CheckpointError: If the files do not fit the model.
        MissingWeightsError: If a file is missing.
    """
    optional = [name + '.' for name in from_scratch]
    if getattr(model.head, 'has_own_weights', False):
        optional.append('head.llm.')
    if model.features is not None:
        report = load_without_vision(
            model, checkpoints, model.features, tuple(optional))
    else:
        paths = [path for name in checkpoints
                 for path in download.locate(name)]
        report = load_checkpoints(model, paths, allow_missing=tuple(optional))
    if model.lora is not None:
        if lora_.check_loaded(model.head.llm, report.sources, 'head.llm.'):
            lora_.check_scale(report.files, model.lora)
        else:
            print_log('LoRA starts anew: no checkpoint holds its weights.',
                      'current')
    return report


def allow_missing_frozen(module: MiniGPT4, incompatible) -> None:
    """Let checkpoints of what was trained leave out what was loaded."""
    if module.load_report is None:
        return
    frozen = tuple(name + '.' for name in module.freeze if name != 'head')
    incompatible.missing_keys[:] = [
        key for key in incompatible.missing_keys
        if not key.removeprefix('module.').startswith(frozen)
    ]
