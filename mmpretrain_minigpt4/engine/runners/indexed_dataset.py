# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Some samples of a data set, each of which knows its place in it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch.utils.data import DataLoader, Dataset

from ...errors import ConfigError, MiniGPT4Error
from ...evaluation.runs.prediction_log import INDEX


@dataclass(frozen=True)
class UnreadableSample:
    """Stands for a sample that could not be read.

    Attributes:
        index: Its place in the data set.
        reason: One sentence.
    """
    index: int
    reason: str


class IndexedDataset(Dataset):
    """Some samples of a data set, by their places in it.

    Args:
        dataset: The data set; its items have ``data_samples``.
        indices: The places.
    """

    def __init__(self, dataset: Dataset, indices: Sequence[int]) -> None:
        self.dataset = dataset
        self.indices = list(indices)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, number: int) -> dict | UnreadableSample:
        """Read a sample; a fault goes in its place.

        Raises:
            ConfigError: If the pipeline does not pack its samples.
        """
        index = self.indices[number]
        try:
            item = self.dataset[index]
        except ConfigError:
            raise
        except (MiniGPT4Error, OSError) as error:
            return UnreadableSample(index, describe(error))
        sample = item.get('data_samples') if isinstance(item, dict) else None
        if not hasattr(sample, 'set_metainfo'):
            raise ConfigError(
                'The test data gives no data samples: let its pipeline end '
                "with PackInputs, or set test_cfg.type='TestLoop'.")
        sample.set_metainfo({INDEX: index})
        return item


def describe(error: BaseException) -> str:
    """An error in one line."""
    text = ' '.join(str(error).split())
    return f'{type(error).__name__}: {text}'


def indexed_loader(loader: DataLoader, indices: Sequence[int]) -> DataLoader:
    """A loader of some samples, made as another one is.

    Its batches are pairs: the collated samples, or None if there are none,
    and those that could not be read.
    """
    return DataLoader(
        IndexedDataset(loader.dataset, indices),
        batch_size=batch_size(loader),
        num_workers=loader.num_workers if indices else 0,
        collate_fn=_Collate(loader.collate_fn),
        pin_memory=loader.pin_memory,
        worker_init_fn=loader.worker_init_fn)


def batch_size(loader: DataLoader) -> int:
    """How many samples a loader puts into a batch."""
    sampler = loader.batch_sampler
    return loader.batch_size or getattr(sampler, 'batch_size', None) or 1


class _Collate:

    def __init__(self, collate: Callable) -> None:
        self.collate = collate

    def __call__(self, items: Sequence) -> tuple[Any, list[UnreadableSample]]:
        bad = [x for x in items if isinstance(x, UnreadableSample)]
        good = [x for x in items if not isinstance(x, UnreadableSample)]
        return (self.collate(good) if good else None), bad


def singles(batch: dict) -> Iterator[dict]:
    """Cut a batch into batches of one sample."""
    for i in range(len(batch['data_samples'])):
        yield {key: value[i:i + 1] for key, value in batch.items()}
