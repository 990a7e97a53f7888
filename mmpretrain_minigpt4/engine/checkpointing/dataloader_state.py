# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Batches without end, and where in the data a run is."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from types import FrameType
from typing import Any

from mmengine.dist import get_world_size
from torch.utils.data import DataLoader, IterableDataset

from ...errors import CheckpointError, DatasetError

# Seconds that a data worker outlives the first SIGTERM.
GRACE = 30


class ResumableBatches:
    """Takes batches from a loader, epoch after epoch.

    A data set or sampler that has ``state_dict()`` and
    ``load_state_dict(state)`` is asked for its own position; as workers read
    ahead, it is shown each batch that training takes by ``note_batch(batch)``
    if it has that. For all others, batches are counted, and as many indices
    of the sampler are passed over on resume, without reading data.

    Args:
        dataloader: Where batches come from. Its workers are made to outlive
            the signals that stop a run, so that its last step can end.
    """

    def __init__(self, dataloader: DataLoader) -> None:
        self.dataloader = dataloader
        self.epoch = 0
        self.batches = 0
        self._iterator: Iterator | None = None
        self._skip = 0
        if dataloader.num_workers:
            dataloader.worker_init_fn = partial(
                _init_worker, dataloader.worker_init_fn)

    def start(self) -> None:
        """Make the iterator, and with it the workers."""
        self._set_epoch()
        loader = self.dataloader
        if self._skip and not isinstance(loader.dataset, IterableDataset):
            self._iterator = iter(_skip_batches(loader, self._skip))
        else:
            self._iterator = iter(loader)
            # A stream without a position of its own has to be read.
            for _ in range(self._skip):
                next(self._iterator, None)
        self._skip = 0

    def close(self) -> None:
        """End the workers."""
        shut_down = getattr(self._iterator, '_shutdown_workers', None)
        self._iterator = None
        # Also where an error's traceback keeps the iterator alive.
        if shut_down is not None:
            shut_down()

    def next(self) -> Any:
        """The next batch, if need be of the next epoch.

        Raises:
            DatasetError: If an epoch has no batch at all.
        """
        if self._iterator is None:
            self.start()
        batch = next(self._iterator, None)
        if batch is None:
            self.epoch += 1
            self.batches = 0
            self.start()
            batch = next(self._iterator, None)
        if batch is None:
            raise DatasetError(
                'The training data gives no batch: it is empty, or shorter '
                'than a batch that drop_last then drops.')
        self.batches += 1
        for part in self._parts():
            if hasattr(part, 'note_batch'):
                part.note_batch(batch)
        return batch

    def state_dict(self) -> dict[str, Any]:
        """The position after the last batch, in plain types."""
        parts = {
            name: part.state_dict()
            for name, part in self._named_parts().items()
            if _has_position(part)
        }
        return dict(
            epoch=self.epoch,
            batches=self.batches,
            samples=self._samples_a_batch(),
            parts=parts)

    def load_state_dicts(self, states: Sequence[dict[str, Any]],
                         rank: int) -> None:
        """Go to a saved position.

        Args:
            states: The positions of all processes of the earlier run.
            rank: The number of this process.

        Raises:
            CheckpointError: If a position does not suit this data.
        """
        parts = self._named_parts()
        state = states[rank if rank < len(states) else 0]
        missing = [name for name in state['parts'] if name not in parts or
                   not _has_position(parts[name])]
        if missing:
            raise CheckpointError(
                'The checkpoint holds a position of the '
                f'{", ".join(missing)}, the one in the config takes none: '
                'resume with the train_dataloader of the first run.')
        self.epoch, self.batches = int(state['epoch']), int(state['batches'])
        for name in state['parts']:
            every = [other['parts'][name] for other in states]
            _restore(parts[name], name, every, rank)
        if state['parts']:
            return
        samples = self._samples_a_batch()
        if None not in (samples, state['samples']):
            # Another batch size or number of processes: same place in data.
            self.batches = self.batches * state['samples'] // samples
        self._skip = self.batches

    def _samples_a_batch(self) -> int | None:
        size = self.dataloader.batch_size
        return None if size is None else size * get_world_size()

    def _named_parts(self) -> dict[str, Any]:
        loader = self.dataloader
        parts = dict(dataset=loader.dataset)
        if not isinstance(loader.dataset, IterableDataset):
            parts['sampler'] = getattr(loader.batch_sampler, 'sampler',
                                       loader.sampler)
        return parts

    def _parts(self) -> list[Any]:
        return list(self._named_parts().values())

    def _set_epoch(self) -> None:
        for part in self._parts():
            if hasattr(part, 'set_epoch'):
                part.set_epoch(self.epoch)


class _SkippingSampler:
    """A batch sampler without its first batches."""

    def __init__(self, batch_sampler, skip: int) -> None:
        self.batch_sampler = batch_sampler
        self.skip = skip

    def __iter__(self) -> Iterator:
        return islice(iter(self.batch_sampler), self.skip, None)

    def __len__(self) -> int:
        return max(len(self.batch_sampler) - self.skip, 0)


def _skip_batches(loader: DataLoader, skip: int) -> DataLoader:
    if loader.batch_sampler is None:
        options = dict(
            batch_size=None, sampler=_SkippingSampler(loader.sampler, skip))
    else:
        options = dict(
            batch_sampler=_SkippingSampler(loader.batch_sampler, skip))
    return DataLoader(
        loader.dataset,
        **options,
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        timeout=loader.timeout,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
        generator=loader.generator,
        prefetch_factor=loader.prefetch_factor)


def _init_worker(start: Callable | None, worker: int) -> None:
    # A cluster's "please end" goes to all processes of a job at once. The
    # main one ends after its step, and then ends its workers.
    signal.signal(signal.SIGTERM, _exit_on_signal)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if start is not None:
        start(worker)


def _exit_on_signal(number: int, frame: FrameType | None) -> None:
    # At once if asked again; by itself if nobody needs it any more.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGALRM, lambda *_: os._exit(0))
    signal.alarm(GRACE)


def _has_position(part: Any) -> bool:
    return hasattr(part, 'state_dict') and hasattr(part, 'load_state_dict')


def _restore(part: Any, name: str, states: list[dict], rank: int) -> None:
    world = get_world_size()
    if hasattr(part, 'load_state_dicts'):
        part.load_state_dicts(states)
    elif len(states) == world:
        part.load_state_dict(states[rank])
    else:
        raise CheckpointError(
            f'The checkpoint holds the position of the {name} in '
            f'{len(states)} processes, this run has {world}: resume with '
            f'{len(states)}, or start the data anew by '
            'model.checkpoints=[".../trained.safetensors"].')
