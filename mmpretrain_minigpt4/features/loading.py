# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Filling a model that has features in place of a vision part."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor, nn

from ..checkpoints import download
from ..checkpoints.loading import load_state, merge_files
from ..checkpoints.report import LoadReport
from ..errors import ConfigError, FeatureCacheError, MissingWeightsError
from .index import FeatureIndex, plain

VISION = ('backbone.', 'neck.')


def open_features(folder: str, backbone: Mapping, neck: Mapping | None,
                  data_preprocessor: Mapping | None, freeze: Sequence[str],
                  from_scratch: Sequence[str],
                  has_checkpoints: bool) -> FeatureIndex:
    """The index of a cache that stands for a vision part.

    Args:
        folder: The cache.
        backbone: Settings of a ``MiniGPT4``, as those after it.
        neck: See there.
        data_preprocessor: See there.
        freeze: See there.
        from_scratch: See there.
        has_checkpoints: Whether there are weights to compare.

    Raises:
        ConfigError: If the vision part is trained, or has random weights.
        FeatureCacheError: If the cache is not of these settings.
    """
    for part in ('backbone', 'neck'):
        if part not in freeze or part in from_scratch:
            raise ConfigError(
                f'The {part} is trained in this config, so features that '
                'were computed before do not fit: leave model.features out.')
    if not has_checkpoints:
        raise ConfigError('model.features needs model.checkpoints: without '
                          'them the vision part has random weights.')
    index = FeatureIndex.read(folder)
    index.check_vision(dict(backbone=plain(backbone), neck=plain(neck)))
    index.check_preprocessing(
        dict(data_preprocessor=plain(data_preprocessor)))
    return index


def load_without_vision(model: nn.Module, checkpoints: Sequence[str],
                        index: FeatureIndex,
                        allow_missing: Sequence[str]) -> LoadReport:
    """Load all but the vision part, which must be the cache's.

    A file that holds nothing else, by the index, may be absent and is never
    fetched; one that is there is read to be compared, and dropped.

    Args:
        model: A ``MiniGPT4`` without its vision part.
        checkpoints: As of the model.
        index: Of the cache.
        allow_missing: Prefixes of names that may be missing.

    Raises:
        FeatureCacheError: If the files hold another vision part.
        CheckpointError: If they do not fit the model.
        MissingWeightsError: If a file is missing.
    """
    paths, absent = find(checkpoints, index)
    tensors, report = merge_files(paths) if paths else ({}, LoadReport())
    vision = {k: x for k, x in tensors.items() if k.startswith(VISION)}
    if not vision and not absent:
        raise FeatureCacheError(
            'model.checkpoints names no file of the vision part, so the '
            'features cannot be told to be its own. Name the files that the '
            'features were written with.')
    index.check_weights(vision, complete=not absent)
    rest: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        if key in vision:
            report.skipped.append(key)
            report.sources.pop(key, None)
        else:
            rest[key] = tensor
    return load_state(model, rest, report, allow_missing=allow_missing)


def find(checkpoints: Sequence[str], index: FeatureIndex | None = None
         ) -> tuple[list[Path], list[str]]:
    """The files that are there, or fetched, and the names of those not.

    Args:
        checkpoints: Names, paths and addresses, as of the model.
        index: Of a cache, whose vision files may be absent.

    Raises:
        MissingWeightsError: If another file is missing.
    """
    known = set() if index is None else set(index.weight_files)
    paths, absent = [], []
    for name in names_of(checkpoints):
        try:
            path = download.check(name)[name]
        except MissingWeightsError:
            if name not in known:
                raise
            path = None
        if path is None and name in known:
            absent.append(name)
            continue
        paths += [path] if path is not None else download.locate(name)
    return paths, absent


def names_of(checkpoints: Sequence[str]) -> list[str]:
    """Every file's name, spelt out."""
    return [x for each in checkpoints for x in download.expand(str(each))]
