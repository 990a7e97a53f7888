# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Image-text pairs in webdataset shards, mixed, split and resumable."""

import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.dataset import Compose
from mmengine.dist import get_dist_info
from mmengine.logging import print_log
from torch.utils.data import IterableDataset, get_worker_info

from ...errors import ConfigError, DatasetError, ImageError
from ...registry import DATASETS
from ..error_budget import Broken, ErrorBudget, annotate, read_note
from .shard_stream import MixedStream, Part, Place, SourceStream
from .tar_reading import expand_shards, is_local

IMAGE_KEYS = ('jpg', 'jpeg', 'png', 'webp')
POSITION, SKIPPED = 'position', 'skipped'
SHOWN = 5  # missing shards that a message names


@DATASETS.register_module()
class ImageTextShards(IterableDataset):
    """An endless stream of images with captions from tar files.

    Every item has ``img`` (encoded bytes), ``img_path``
    (``shard.tar/key``), ``image_id`` (the key) and ``gt_caption``. A loader
    takes it with ``sampler=None``.

    Each process and each worker reads its own part. Broken samples are
    skipped, named in the meta information ``skipped`` of the next one, and
    counted against a budget; a shard that is missing or cut short is named
    likewise.

    The stream can be resumed to the sample: :meth:`state_dict` tells where
    it is. With workers, the main process learns that from the samples: each
    batch that was trained on is shown to :meth:`note_batch`.

    Args:
        sources: Dicts with ``shards`` (a name or list of names, with
            ``{00000..00127}`` written out) and ``weight`` (1 by default).
        data_root: Put before the names of shards that are relative.
        seed: Of the order and the mixing.
        shuffle: Samples to shuffle among, of each source; 1 keeps the
            order of shards and samples.
        mix_run: Samples in a row from one source. The original draws the
            source of each batch: set it to the batch size for that.
        caption_key: Where the caption is in a ``.json`` file; a ``.txt``
            file beside the image is read as well.
        max_broken_share: The share of broken samples, or of a source's
            missing shards at the start, at which training stops.
        length: What ``len`` tells, for loops that ask; the stream does not
            end there.
        pipeline: The transforms.

    Raises:
        DatasetError: If shards are missing beyond the budget, or webdataset
            is not installed.
        ConfigError: If an argument is out of range.

    Source: the MiniGPT-4 paper, section 3.1; LAION 115M and CC + SBU are
    mixed 115 to 14.
    """

    METAINFO = {'dataset_type': 'image_text_shards'}

    def __init__(self,
                 sources: Sequence[Mapping[str, Any]],
                 data_root: str = '',
                 seed: int = 42,
                 shuffle: int = 1000,
                 mix_run: int = 1,
                 caption_key: str = 'caption',
                 max_broken_share: float = 0.2,
                 length: int = 1_000_000_000,
                 pipeline: Sequence = ()) -> None:
        super().__init__()
        for name, value in (('shuffle', shuffle), ('mix_run', mix_run),
                            ('length', length)):
            if value < 1:
                raise ConfigError(f'{name} must be at least 1, got {value}.')
        self.sources, self.weights = _read_sources(sources, data_root)
        self.seed = seed
        self.shuffle = shuffle
        self.mix_run = mix_run
        self.caption_key = caption_key
        self.max_broken_share = max_broken_share
        self.length = length
        ErrorBudget(max_broken_share)
        self._check_shards()
        self.pipeline = Compose(list(pipeline))
        self.rank, self.world_size = get_dist_info()
        # Where each worker's stream is, and whose batch comes next.
        self._streams: dict[int, dict] = {}
        self._workers: int | None = None
        self._next = 0

    @property
    def metainfo(self) -> dict[str, str]:
        """As of every data set of the toolbox."""
        return dict(self.METAINFO)

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[Any]:
        """Items from where the last :meth:`load_state_dict` said."""
        info = get_worker_info()
        worker, workers = (0, 1) if info is None else (info.id,
                                                       info.num_workers)
        if self._streams and self._workers not in (None, workers):
            raise DatasetError(
                f'This stream was stopped with {self._workers} workers and '
                f'cannot go on with {workers}. Set num_workers to the '
                'earlier number (0 counts as 1).')
        # The first batch is that of the worker whose turn it is.
        worker = (worker + self._next) % workers
        for item in self.stream(worker, workers):
            if info is None:
                self._follow(item)
            yield item

    def stream(self, worker: int, workers: int) -> Iterator[Any]:
        """One worker's endless part of the samples, through the pipeline."""
        budget = ErrorBudget(self.max_broken_share)
        skipped: list[dict] = []

        def report(fault: Broken) -> None:
            skipped.append(fault.as_dict())
            budget.spend(fault)

        state = self._streams.get(worker, {})
        if state:
            budget.load_state_dict(state['budget'])
        mixed = self._open(state, worker, workers, report)
        for _, raw in mixed:
            try:
                item = self.pipeline(self.read(raw))
                if item is None:
                    raise DatasetError('The pipeline dropped it.')
            except (ImageError, DatasetError) as error:
                report(Broken(raw['__url__'], raw['__key__'], str(error)))
                continue
            budget.ok()
            mixed.used += 1
            position = dict(
                worker=worker,
                workers=workers,
                budget=budget.state_dict(),
                **mixed.state())
            notes = {POSITION: position}
            if skipped:
                notes[SKIPPED], skipped = skipped, []
            yield annotate(item, **notes)

    def read(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """What the pipeline begins with.

        Raises:
            DatasetError: If the image or the caption is missing or empty.
        """
        suffix = next((key for key in IMAGE_KEYS if key in raw), None)
        if suffix is None:
            held = ', '.join(k for k in raw if not k.startswith('__'))
            raise DatasetError('It has no image (.jpg, .png, .webp), but '
                               f'{held or "nothing"}.')
        return dict(
            img=raw[suffix],
            img_path=f'{raw["__url__"]}/{raw["__key__"]}',
            image_id=raw['__key__'],
            gt_caption=self._caption(raw))

    def one_pass(self, part: Part) -> Iterator[dict[str, Any] | Broken]:
        """Every raw sample of a part once, and the shards' faults."""
        for shards in self.sources:
            faults: list[Broken] = []
            source = SourceStream(shards, part, 'pass', 1, Place(),
                                  faults.append)
            place = Place()
            while place.turn == 0:
                samples, place = source._fill(place, faults)
                yield from samples
            yield from faults

    def note_batch(self, batch: Any) -> None:
        """Note that a batch was taken for training.

        Args:
            batch: As the loader gives it.
        """
        samples = batch.get('data_samples') if isinstance(
            batch, Mapping) else batch
        for sample in samples or ():
            self._follow(sample)

    def state_dict(self) -> dict[str, Any]:
        """Where the stream is, in plain types; differs between processes."""
        return dict(
            rank=self.rank,
            world_size=self.world_size,
            workers=self._workers,
            next=self._next,
            streams={str(k): v for k, v in sorted(self._streams.items())},
            settings=self._settings())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; takes hold with the next ``iter``.

        Raises:
            DatasetError: If the state is of other data or another split.
        """
        now = dict(rank=self.rank, world_size=self.world_size,
                   **self._settings())
        then = dict(rank=state['rank'], world_size=state['world_size'],
                    **state['settings'])
        for key, value in now.items():
            if then.get(key) != value:
                raise DatasetError(
                    f'The data cannot go on where it was: {key} was '
                    f'{then.get(key)}, now it is {value}. Set it back, or '
                    'begin a new run from the weights alone.')
        self._workers = state['workers']
        self._next = int(state['next'])
        self._streams = {int(k): v for k, v in state['streams'].items()}

    def _settings(self) -> dict[str, Any]:
        return dict(
            seed=self.seed,
            shuffle=self.shuffle,
            mix_run=self.mix_run,
            weights=list(self.weights),
            shards=[[len(x), os.path.basename(x[0]),
                     os.path.basename(x[-1])] for x in self.sources])

    def _follow(self, sample: Any) -> None:
        """Take over the position that a sample carries."""
        position = read_note(
            sample['data_samples'] if isinstance(sample, Mapping)
            and 'data_samples' in sample else sample, POSITION)
        if position is None:
            raise DatasetError('A batch does not tell where it is from: '
                               'the meta information "position" is gone.')
        worker = position['worker']
        self._streams[worker] = position
        self._workers = position['workers']
        self._next = (worker + 1) % self._workers

    def _open(self, state: Mapping, worker: int, workers: int,
              report) -> MixedStream:
        part = Part(self.rank * workers + worker, self.world_size * workers)
        places = state.get('places') or [[]] * len(self.sources)
        sources = [
            SourceStream(shards, part, f'{self.seed} source {i}',
                         self.shuffle, Place(*places[i]), report)
            for i, shards in enumerate(self.sources)
        ]
        return MixedStream(
            sources,
            self.weights,
            f'{self.seed} {part.index}',
            run=self.mix_run,
            used=state.get('used', 0))

    def _caption(self, raw: Mapping[str, Any]) -> str:
        try:
            if 'json' in raw:
                content = json.loads(raw['json'])
                text = content.get(self.caption_key) if isinstance(
                    content, dict) else None
            else:
                text = raw['txt'].decode('utf-8-sig')
        except KeyError:
            raise DatasetError('It has no caption (.json or .txt).') from None
        except (ValueError, RecursionError) as error:
            raise DatasetError(f'Its caption cannot be read: {error}.') from \
                error
        if not isinstance(text, str):
            raise DatasetError(
                f'Its .json has no text {self.caption_key!r}.')
        if not text.strip():
            raise DatasetError('The caption is empty.')
        return text

    def _check_shards(self) -> None:
        """Look for the shards; of each source some may be missing."""
        missing = [[x for x in shards if is_local(x)
                    and not os.path.isfile(x)] for shards in self.sources]
        if missing == self.sources:
            raise DatasetError(_missing(sum(missing, []), sum(missing, [])))
        for names, shards in zip(missing, self.sources, strict=True):
            if len(names) > self.max_broken_share * len(shards):
                raise DatasetError(_missing(names, shards))
            if names:
                print_log(_missing(names, shards), logger='current',
                          level=logging.WARNING)


def _missing(names: Sequence[str], shards: Sequence[str]) -> str:
    rest = len(names) - SHOWN
    more = f' and {rest:,} more' if rest > 0 else ''
    return (f'{len(names):,} of {len(shards):,} shards are not there: '
            f'{", ".join(names[:SHOWN])}{more}. docs/data.md tells how to '
            'get them; give data_root or sources the folder where they lie.')


def _read_sources(sources: Sequence[Mapping[str, Any]], data_root: str
                  ) -> tuple[list[list[str]], list[float]]:
    if isinstance(sources, Mapping):
        sources = [sources]
    names, weights = [], []
    for source in sources:
        if not isinstance(source, Mapping) or 'shards' not in source or set(
                source) - {'shards', 'weight'}:
            raise ConfigError("A source is dict(shards=..., weight=...), got "
                              f'{source!r}.')
        weight = float(source.get('weight', 1))
        if not weight > 0:
            raise ConfigError(f'The weight of a source must be above 0, got '
                              f'{weight}.')
        names.append([
            os.path.join(data_root, x) if is_local(x) else x
            for x in expand_shards(source['shards'])
        ])
        weights.append(weight)
    if not names:
        raise ConfigError('sources is empty: name at least one.')
    return names, weights
