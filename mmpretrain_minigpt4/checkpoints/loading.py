# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Filling a model from files, strictly or not at all."""

import os
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ..errors import CheckpointError
from .conversion import check_finite, check_numbers, convert
from .diagnosis import hints
from .positions import resize_positions
from .reading import read_state_dict
from .report import LoadReport

# Parts that a model may lack as a whole: the Llama-2 variant has no Q-Former
# but takes ln_vision out of the same BLIP-2 file, a vision-only model has no
# projection and no language model, and one that trains from cached features
# has no vision encoder.
OPTIONAL_PARTS = ('backbone.', 'neck.', 'projector.', 'head.llm.')


def merge_files(
        paths: Sequence[str | os.PathLike]
) -> tuple[dict[str, Tensor], LoadReport]:
    """Read files of any known layouts into one native state dict.

    Args:
        paths: Files or folders; where two hold the same tensor, the later
            wins and the report says so.

    Returns:
        The tensors under native names, and a report of their sources.

    Raises:
        CheckpointError: If a file cannot be read, or a key is unknown.
        MissingWeightsError: If a file is missing.
    """
    if isinstance(paths, (str, os.PathLike)):
        paths = [paths]
    if not paths:
        raise CheckpointError('No checkpoint was given to load.')
    tensors: dict[str, Tensor] = {}
    report = LoadReport()
    for path in paths:
        file = os.fspath(path)
        found = convert(read_state_dict(path), repr(file))
        report.files[file] = found.layout
        report.dropped[file] = found.dropped
        for key, tensor in found.tensors.items():
            if key in tensors:
                report.replaced.append(key)
            tensors[key] = tensor
            report.sources[key] = (file, found.origins[key])
    return tensors, report


def load_checkpoints(
        model: nn.Module,
        paths: Sequence[str | os.PathLike],
        *,
        allow_missing: Sequence[str] = ('head.llm.', )) -> LoadReport:
    """Fill a model from files, or leave it as it was and say why.

    Tensors are cast to the dtype of the model's parameters. Parameters on
    the ``meta`` device become real ones on the CPU. Positions of another
    image size are stretched bicubically.

    Args:
        model: A ``MiniGPT4``, or any module with native parameter names.
        paths: Files or folders, merged; the later wins.
        allow_missing: Prefixes of names that the files need not hold: the
            language model is loaded from its own folder.

    Returns:
        Where each tensor came from; ``str()`` of it is a table.

    Raises:
        CheckpointError: If anything is missing, unexpected, of a wrong
            shape, or no finite number; the text has the report and the
            hints.
        MissingWeightsError: If a file is missing.
    """
    tensors, report = merge_files(paths)
    return load_state(model, tensors, report, allow_missing=allow_missing)


def load_state(model: nn.Module,
               tensors: Mapping[str, Tensor],
               report: LoadReport | None = None,
               *,
               allow_missing: Sequence[str] = ('head.llm.', )) -> LoadReport:
    """Fill a model from native tensors: the second half of loading.

    Args:
        model: Any module with native parameter names.
        tensors: Native names to tensors.
        report: The report to go on with, if the tensors came from files.
        allow_missing: Prefixes of names that may be missing.

    Raises:
        CheckpointError: As ``load_checkpoints``.
    """
    if report is None:
        report = LoadReport(
            sources={key: ('given', key) for key in tensors})
    wanted = model.state_dict(keep_vars=True)
    fitting = _compare(wanted, dict(tensors), report, tuple(allow_missing))
    if not report.ok:
        advice = hints(report, set(wanted))
        raise CheckpointError('\n'.join(
            ['The checkpoints do not fit the model; nothing was loaded.'] +
            advice + [str(report)]))
    for key, tensor in fitting.items():
        _fill(model, key, wanted[key], tensor)
    return report


def _compare(wanted: Mapping[str, Tensor], tensors: dict[str, Tensor],
             report: LoadReport,
             allow_missing: tuple[str, ...]) -> dict[str, Tensor]:
    """Sort every name into the report, and return what can be copied."""
    absent = tuple(
        part for part in OPTIONAL_PARTS
        if not any(key.startswith(part) for key in wanted))
    fitting: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        if key not in wanted:
            skip = bool(absent) and key.startswith(absent)
            (report.skipped if skip else report.unexpected).append(key)
            report.sources.pop(key, None)
            continue
        check_numbers(key, tensor)
        file, _ = report.sources.get(key, ('the checkpoint', key))
        check_finite(key, tensor, file)
        shape = tuple(wanted[key].shape)
        if key == 'backbone.pos_embed' and tuple(tensor.shape) != shape \
                and tensor.shape[-1:] == shape[-1:]:
            tensor = resize_positions(tensor, shape[1])
            report.resized.append(key)
        if tuple(tensor.shape) != shape:
            report.wrong_shapes.append((key, tuple(tensor.shape), shape))
        else:
            fitting[key] = tensor
    for key in wanted:
        if key not in tensors:
            allowed = key.startswith(allow_missing)
            (report.left if allowed else report.missing).append(key)
    return fitting


@torch.no_grad()
def _fill(model: nn.Module, key: str, old: Tensor, tensor: Tensor) -> None:
    """Copy a tensor into its place, or put it there if the place is meta."""
    if not old.is_meta:
        old.copy_(tensor)
        return
    # A copy, as the tensor may be a view into the mapped file.
    new = tensor.to(dtype=old.dtype, copy=True).contiguous()
    path, _, name = key.rpartition('.')
    owner = model.get_submodule(path)
    if isinstance(old, nn.Parameter):
        setattr(owner, name, nn.Parameter(new, old.requires_grad))
    else:
        owner.register_buffer(name, new)
