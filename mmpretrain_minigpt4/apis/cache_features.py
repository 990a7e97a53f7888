# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Encode the images of a data set once, and keep their features.

Legend: B images of a batch, Q visual tokens of an image, C their width.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from torch import Tensor, nn

from ..checkpoints.digests import state_digests
from ..checkpoints.loading import merge_files
from ..datasets.error_budget import Broken, ErrorBudget
from ..engine.checkpointing.run_state import versions
from ..errors import ConfigError, FeatureCacheError, MissingWeightsError
from ..features import FeatureIndex, FeatureStore, ShardWriter
from ..features.index import NAME, plain
from ..features.loading import VISION, find, names_of
from ..features.pipeline import image_steps
from ..features.store import DTYPES
from ..zoo import check_device
from .config_check import check_loader
from .image_scan import Reading, SeenImage, read_all, without_pipeline

UNREAD = 'unread '  # in place of the key of a file without content


@dataclass
class CacheReport:
    """What :func:`cache_features` did.

    Attributes:
        folder: The cache.
        samples: Samples that were gone through.
        images: Images that the cache holds now.
        added: Of these, those of this run.
        broken: What could not be read.
        image_bytes: The size of one image's features.
    """
    folder: Path
    samples: int = 0
    images: int = 0
    added: int = 0
    broken: list[Broken] = field(default_factory=list)
    image_bytes: int = 0

    def __str__(self) -> str:
        broken = (f'; {len(self.broken):,} that cannot be read are listed in '
                  f'{NAME}' if self.broken else '')
        return (f'{self.folder}: features of {self.images:,} images '
                f'({self.added:,} new), {self.image_bytes / 1024:.3g} KiB '
                f'each{broken}.')


def cache_features(config: Config,
                   folder: str | os.PathLike,
                   loader: str = 'train_dataloader',
                   dtype: str = 'float16',
                   shard_size: int = 1024,
                   batch_size: int | None = None,
                   workers: int | None = None,
                   device: str | None = None,
                   advance: Callable[[int, int | None], None] | None = None
                   ) -> CacheReport:
    """Write the features of every image of a config's data set.

    What is there already stays, so that a run that was ended goes on, and a
    data set that grew is completed.

    Args:
        config: The config that will be trained.
        folder: Where to write.
        loader: The data loader in the config.
        dtype: Type to store in: ``float16``, ``bfloat16`` or ``float32``.
        shard_size: Images in a shard.
        batch_size: Images at once; None takes the loader's, with which the
            numbers are the very ones that training would compute.
        workers: Processes that read; None takes the loader's.
        device: Where to compute; None takes a GPU if there is one.
        advance: Called with samples done and their number, if it is known.

    Raises:
        ConfigError: If the config cannot be trained from features, or there
            is no such device.
        FeatureCacheError: If the folder holds features of another kind, or
            the pipeline is random.
        DatasetError: If too many images are broken.
        OSError: If nothing can be written.
    """
    _check(config, loader, dtype, shard_size)
    check_loader(loader, config[loader])
    check_device(device)
    settings = config[loader].to_dict()
    steps, pack = image_steps(settings['dataset'])
    fresh, files = _new_index(config, steps, dtype)
    index = _open(folder, fresh)
    model = _build_vision(config.model.to_dict(), files, device)
    writer = ShardWriter(folder, index, shard_size)
    report = CacheReport(Path(folder), broken=[
        Broken(x['where'], '', x['reason']) for x in index.broken.values()])
    done = FeatureStore(folder).keys() if index.shards else set()
    seen = done | {bytes.fromhex(key) for key in index.broken}
    dataset = without_pipeline(settings['dataset'])
    budget = ErrorBudget(getattr(dataset, 'max_broken_share', getattr(
        getattr(dataset, 'budget', None), 'max_share', 0.2)))
    encode = _Encoder(model, _autocast(config, model),
                      batch_size or settings.get('batch_size', 1))
    reader, total = read_all(
        dataset, Reading(steps, pack, frozenset(seen)),
        settings.get('num_workers', 0) if workers is None else workers)
    try:
        for images in reader:
            report.samples += 1
            for image in images:
                if image.error:
                    _note(index, report, budget, image)
                elif image.inputs is not None and image.key not in seen:
                    seen.add(image.key)
                    encode.add(image)
                    budget.ok()
                    report.added += _write(writer, encode.full())
            if advance is not None:
                advance(1, total)
        report.added += _write(writer, encode.rest())
    finally:
        writer.flush()  # what was computed before an interruption is kept
    report.images = sum(x['images'] for x in index.shards)
    if index.shape:
        size = torch.empty(0, dtype=DTYPES[index.dtype]).element_size()
        report.image_bytes = size * index.shape[0] * index.shape[1]
    return report


class _Encoder:
    """Collects images, and encodes them in batches of one size.

    The size of a batch shows in the last bits of its numbers, so the last
    batch is filled up.
    """

    def __init__(self, model: nn.Module, context: Callable,
                 batch_size: int) -> None:
        self.model = model
        self.context = context
        self.batch_size = batch_size
        self._images: list[SeenImage] = []

    def add(self, image: SeenImage) -> None:
        self._images.append(image)

    def full(self) -> list[tuple[SeenImage, Tensor]]:
        return (self.rest() if len(self._images) == self.batch_size else [])

    @torch.no_grad()
    def rest(self) -> list[tuple[SeenImage, Tensor]]:
        images, self._images = self._images, []
        if not images:
            return []
        filled = images + [images[-1]] * (self.batch_size - len(images))
        inputs = [image.inputs for image in filled]
        if any(x.shape != inputs[0].shape for x in inputs):
            raise ConfigError(
                'The pipeline gives images of different sizes. Add a Resize '
                'to both sides, as training needs it too.')
        data = self.model.data_preprocessor(
            dict(inputs=torch.stack(inputs)), False)
        with self.context():
            features = self.model(data['images'])  # float[B, Q, C]
        return list(zip(images, features.float(), strict=False))


def _write(writer: ShardWriter, found: list[tuple[SeenImage, Tensor]]) -> int:
    for image, features in found:
        writer.add(image.key, features, image.name)
    return len(found)


def _note(index: FeatureIndex, report: CacheReport, budget: ErrorBudget,
          image: SeenImage) -> None:
    fault = Broken(image.name, '', image.error)
    key = image.key.hex() if image.key else f'{UNREAD}{image.name}'
    # Equal files, such as empty ones, are listed once, and all counted.
    index.broken.setdefault(
        key, dict(where=image.name, reason=image.error))
    report.broken.append(fault)
    budget.spend(fault)


def _check(config: Config, loader: str, dtype: str, shard_size: int) -> None:
    if dtype not in DTYPES:
        raise ConfigError(f'Features are stored as {", ".join(DTYPES)}, not '
                          f'{dtype!r}.')
    if shard_size < 1:
        raise ConfigError(f'A shard holds 1 image or more, not {shard_size}.')
    if 'dataset' not in (config.get(loader) or {}):
        raise ConfigError(f'The config has no {loader} with a dataset.')
    model = config.model
    freeze = model.get('freeze', ('backbone', 'neck'))
    trained = [x for x in ('backbone', 'neck')
               if x not in freeze or x in model.get('from_scratch', ())]
    if trained:
        raise ConfigError(
            f'{" and ".join(trained)}: trained in this config, so there are '
            'no features that stay the same.')
    if not model.get('checkpoints'):
        raise ConfigError('model.checkpoints is empty: the vision part has '
                          'random weights, of which no features are kept.')


def _build_vision(settings: dict, files: list[Path], device: str | None
                  ) -> nn.Module:
    """The vision part alone; neither projection nor language model."""
    for name in ('lora', 'features', 'from_scratch'):
        settings.pop(name, None)
    model = MODELS.build(dict(
        settings, projector=None, head=None, checkpoints=files))
    if device is None:
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
    return model.to(device).eval()


def _new_index(config: Config, steps: list[dict], dtype: str
               ) -> tuple[FeatureIndex, list[Path]]:
    """What the features will come from, and the files of its weights."""
    model = config.model.to_dict()
    weights, files, alone = {}, [], []
    for name in names_of(model['checkpoints']):
        try:
            paths, _ = find([name])
        except MissingWeightsError:
            continue  # perhaps the projection of a stage yet to be trained
        tensors, _ = merge_files(paths)
        vision = {k: x for k, x in tensors.items() if k.startswith(VISION)}
        if vision and len(vision) == len(tensors):
            alone.append(name)
        if vision:
            files += paths
        weights.update(state_digests(vision))
    if not files:
        raise MissingWeightsError(
            'No file of model.checkpoints is there and holds the vision '
            f'part: {", ".join(names_of(model["checkpoints"]))}.')
    preprocessor = dict(model.get('data_preprocessor')
                        or config.get('data_preprocessor') or {})
    preprocessor.setdefault('type', 'MultiModalDataPreprocessor')
    wrapper = config.get('optim_wrapper') or {}
    index = FeatureIndex(
        vision=dict(
            backbone=plain(model['backbone']), neck=plain(model['neck'])),
        weights=weights,
        weight_files=alone,
        preprocessing=dict(
            steps=plain(steps), data_preprocessor=plain(preprocessor)),
        dtype=dtype,
        computed_in=str(wrapper.get('dtype') or model.get('dtype', 'auto')),
        versions=versions())
    return index, files


def _open(folder: str | os.PathLike, index: FeatureIndex) -> FeatureIndex:
    """The index that is there, if it goes with the new one."""
    if not (Path(folder) / NAME).exists():
        Path(folder).mkdir(parents=True, exist_ok=True)
        return index
    old = FeatureIndex.read(folder)
    found = old.same_as(index)
    if found:
        raise FeatureCacheError(
            f'{os.fspath(folder)!r} holds features of another kind: '
            f'{"; ".join(found[:3])}. Give another folder by --out.')
    # Files that could not be read may be there by now.
    old.broken = {
        key: fault for key, fault in old.broken.items()
        if not key.startswith(UNREAD)
    }
    return old


def _autocast(config: Config, model: nn.Module) -> Callable:
    """The mixed precision in which the config trains, if any."""
    wanted = (config.get('optim_wrapper') or {}).get('dtype')
    if wanted is None:
        return contextlib.nullcontext
    from ..llm.dtypes import compute_dtype
    kind = model.device.type
    return lambda: torch.autocast(
        kind, compute_dtype(wanted, model.device))
