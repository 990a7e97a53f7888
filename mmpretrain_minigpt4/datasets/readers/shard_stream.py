# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""An endless, seeded walk through shards that can begin anywhere.

Where a stream is can be told in a few numbers, so that a run that was
stopped goes on with the very next sample: shuffling is done in windows, each
of which depends on nothing but the seed and where it begins.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import DatasetError
from ..error_budget import Broken
from .tar_reading import ShardError, read_shard


@dataclass(frozen=True)
class Part:
    """Which of several streams this one is, over all processes.

    Attributes:
        index: From 0.
        count: How many there are.
    """
    index: int = 0
    count: int = 1


@dataclass
class Place:
    """Where a stream is: at the ``taken``-th sample of a window.

    Attributes:
        turn: Passes through all shards so far.
        shard: Position in this pass's order of shards.
        sample: Position in that shard; here the window begins.
        taken: Samples of the window that were handed out.
    """
    turn: int = 0
    shard: int = 0
    sample: int = 0
    taken: int = 0

    def as_list(self) -> list[int]:
        """Plain numbers."""
        return [self.turn, self.shard, self.sample, self.taken]


class SourceStream:
    """The samples of one set of shards, for one of several streams.

    Where there are at least as many shards as streams, each stream has
    shards of its own in every pass; otherwise each has its own samples of
    every shard. Together they give each sample once a pass.

    Args:
        shards: The names.
        part: Which stream this is.
        seed: Of the order of shards and samples.
        window: Samples to shuffle among; 1 keeps their order.
        place: Where to begin.
        report: Takes the faults of whole shards.
    """

    def __init__(self, shards: Sequence[str], part: Part, seed: str,
                 window: int, place: Place,
                 report: Callable[[Broken], None]) -> None:
        self.shards = list(shards)
        self.part = part
        self.seed = seed
        self.window = window
        self.place = place
        self.report = report
        self.by_shard = len(self.shards) >= part.count

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The samples; :attr:`place` is then behind the one handed out."""
        empty = 0
        while True:
            begin = self.place
            faults: list[Broken] = []
            samples, end = self._fill(begin, faults)
            if begin.taken == 0:  # else they were reported before the stop
                for fault in faults:
                    self.report(fault)
            empty = 0 if samples else empty + 1
            if empty > 1:
                raise DatasetError(
                    f'{self._named()} hold no sample for stream '
                    f'{self.part.index + 1} of {self.part.count}. Use fewer '
                    'workers, or fix the shards.')
            order = list(range(len(samples)))
            if self.window > 1:
                random.Random(
                    f'{self.seed} {self.part.index}/{self.part.count} '
                    f'{begin.as_list()[:3]}').shuffle(order)
            for taken in range(begin.taken, len(order)):
                self.place = Place(begin.turn, begin.shard, begin.sample,
                                   taken + 1)
                if taken + 1 == len(order):
                    self.place = end
                yield samples[order[taken]]
            self.place = end

    def _named(self) -> str:
        more = f' and {len(self.shards) - 1:,} more' * (len(self.shards) > 1)
        return f'The shards {self.shards[0]}{more}'

    def _pass(self, turn: int) -> list[str]:
        """The shards of this stream in a pass, in their order."""
        shards = list(self.shards)
        if self.window > 1:
            random.Random(f'{self.seed} pass {turn}').shuffle(shards)
        if self.by_shard:
            return shards[self.part.index::self.part.count]
        return shards

    def _fill(self, begin: Place, faults: list[Broken]
              ) -> tuple[list[dict], Place]:
        """Read one window; it ends with the pass at the latest."""
        samples: list[dict] = []
        shards = self._pass(begin.turn)
        for position in range(begin.shard, len(shards)):
            skip = begin.sample if position == begin.shard else 0
            try:
                for number, sample in enumerate(
                        read_shard(shards[position])):
                    mine = (self.by_shard or number % self.part.count
                            == self.part.index)
                    if number < skip or not mine:
                        continue
                    samples.append(sample)
                    if len(samples) == self.window:
                        return samples, Place(begin.turn, position,
                                              number + 1)
            except ShardError as error:
                faults.append(Broken(shards[position], '', str(error)))
        return samples, Place(begin.turn + 1)


class MixedStream:
    """Several sources, mixed by weight.

    Args:
        sources: The streams.
        weights: How often each gives, in any unit.
        seed: Of the choice.
        run: Samples in a row from one source.
        used: Samples that could be used before.
    """

    def __init__(self, sources: Sequence[SourceStream],
                 weights: Sequence[float], seed: str, run: int = 1,
                 used: int = 0) -> None:
        self.sources = list(sources)
        self.weights = list(weights)
        self.seed = seed
        self.run = run
        self.used = used

    def __iter__(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """``(number of the source, sample)`` without end.

        Whoever takes them adds to :attr:`used`; after a sample that was of
        no use the same source gives another one.
        """
        streams = [iter(source) for source in self.sources]
        while True:
            # Drawn from the count, not from a generator that would have to
            # be wound on to it.
            which = random.Random(
                f'{self.seed} mix {self.used // self.run}').choices(
                    range(len(streams)), self.weights)[0]
            yield which, next(streams[which])

    def state(self) -> dict[str, Any]:
        """Where it is, in plain numbers."""
        return dict(
            used=self.used,
            places=[source.place.as_list() for source in self.sources])
