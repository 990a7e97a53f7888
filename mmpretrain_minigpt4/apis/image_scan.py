# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Going through every image of a data set once, decoding the new ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mmengine.dataset import Compose
from mmengine.registry import DATASETS, TRANSFORMS, DefaultScope
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from ..datasets.error_budget import Broken
from ..datasets.readers.shard_stream import Part
from ..errors import ConfigError, DatasetError, ImageError
from ..features import image_key, image_sources
from ..features.pipeline import pipelines

READ = 16  # samples between two steps of the progress bar


@dataclass(frozen=True)
class SeenImage:
    """An image: its key and, if it is new, its pixels; or why not.

    Attributes:
        name: What messages call it.
        key: Its content's hash; None if there was nothing to read.
        inputs: uint8[3, H, W], or None if it was known before.
        error: Why it cannot be used.
    """
    name: str
    key: bytes | None = None
    inputs: Tensor | None = None
    error: str = ''


class Reading:
    """What a worker does with a sample: hash its images, decode new ones."""

    def __init__(self, steps: list[dict], pack: dict,
                 known: frozenset[bytes]) -> None:
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            self.pipeline = Compose(
                [TRANSFORMS.build(dict(x)) for x in [*steps, pack]])
        self.known = known

    def __call__(self, info: Mapping[str, Any]) -> list[SeenImage]:
        try:
            sources = image_sources(info)
        except ImageError as error:
            return [SeenImage(str(info.get('image_id')), error=str(error))]
        return [
            self._read(info, source, name) for source, name in sources]

    def _read(self, info: Mapping[str, Any], source: Any, name: str
              ) -> SeenImage:
        key = None
        try:
            key = image_key(source)
            if key in self.known:
                return SeenImage(name, key)
            several = info.get('img_paths') is not None
            alone = dict(info, img_paths=[source]) if several else dict(info)
            inputs = self.pipeline(alone)['inputs']
            return SeenImage(name, key, inputs[0] if several else inputs)
        except ImageError as error:
            return SeenImage(name, key, error=str(error))


class _Probe(Dataset):

    def __init__(self, dataset: Dataset, reading: Reading) -> None:
        self.dataset = dataset
        self.reading = reading

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> list[SeenImage]:
        return self.reading(self.dataset.get_data_info(index))


class _StreamProbe(IterableDataset):

    def __init__(self, dataset: IterableDataset, reading: Reading) -> None:
        super().__init__()
        self.dataset = dataset
        self.reading = reading

    def __iter__(self) -> Iterator[list[SeenImage]]:
        from torch.utils.data import get_worker_info
        info = get_worker_info()
        part = Part() if info is None else Part(info.id, info.num_workers)
        for raw in self.dataset.one_pass(part):
            if isinstance(raw, Broken):
                yield [SeenImage(raw.where, error=raw.reason)]
                continue
            try:
                yield self.reading(self.dataset.read(raw))
            except DatasetError:
                yield []  # without a caption it is never trained on


def without_pipeline(dataset: dict) -> Any:
    """The data set without its pipeline: nothing is decoded in it."""
    for each in pipelines(dataset):
        each['pipeline'] = []
    built = DATASETS.build(dataset)
    if hasattr(built, 'full_init'):
        built.full_init()
    if not (hasattr(built, 'one_pass') or hasattr(built, 'get_data_info')):
        raise ConfigError(
            f'{type(built).__name__} has no get_data_info, by which a data '
            'set of the toolbox tells where a sample\'s image is.')
    return built


def read_all(dataset: Any, reading: Reading, workers: int
             ) -> tuple[Iterator[list[SeenImage]], int | None]:
    """The images of each sample, and the number of samples if it is known.

    Args:
        dataset: As :func:`without_pipeline` gives it.
        reading: What to do with a sample.
        workers: Processes that read.
    """
    streamed = hasattr(dataset, 'one_pass')
    probe = (_StreamProbe if streamed else _Probe)(dataset, reading)
    batches = DataLoader(
        probe, batch_size=READ, num_workers=workers, collate_fn=list,
        multiprocessing_context='fork' if workers else None)
    return ((images for batch in batches for images in batch),
            None if streamed else len(dataset))
