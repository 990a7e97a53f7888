# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""What all suites share: the models, the clock, the limits, the rows."""

from __future__ import annotations

import datetime
import gc
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from mmpretrain_minigpt4.errors import BenchmarkError

from . import equality, machine
from .baseline import build_ours, build_peer
from .clock import Clock, Jobs, Sample, interleave
from .dims import Dims
from .memory import weight_bytes
from .records import Record, judge, limit_rate, summarize
from .roofline import Ceilings, Limit, Limits

BYTES = dict(float32=4, bfloat16=2)


class Pair(NamedTuple):
    """Both models with the same weights."""
    ours: torch.nn.Module
    peer: torch.nn.Module


class Case(NamedTuple):
    """A job of a suite: its name, and what gives its records."""
    name: str
    run: Callable[[], Iterable[Record]]


@dataclass(frozen=True)
class Settings:
    """What the command line decides.

    Attributes:
        dims: The size.
        device: Where the models are.
        threads: Of torch, on a CPU.
        quick: Fewer rounds, shorter answers, smaller batches.
        static: Also measure P2, which compiles.
        captions: Over how many captions memory is watched.
        seconds: No new row begins after so long; None for no end.
        command: How the run was called, for the records.
    """
    dims: Dims
    device: torch.device
    threads: int = 1
    quick: bool = False
    static: bool = False
    captions: int = 1000
    seconds: float | None = None
    command: str = ''


@dataclass
class Bench:
    """A run: builds the models once, times, and makes records.

    Attributes:
        settings: What the command line decides.
        ticked: Called after each round, to show progress.
    """
    settings: Settings
    ticked: Callable[[], None] = lambda: None
    _pairs: dict[str, Pair] = field(default_factory=dict)
    _ceilings: dict[str, Ceilings] = field(default_factory=dict)
    _equal: dict[str, dict] = field(default_factory=dict)
    _weights: dict[str, dict] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.device = self.settings.device
        self.dims = self.settings.dims
        self.quick = self.settings.quick
        self._cuda = self.device.type == 'cuda'
        self.clock = Clock(self.device, self.settings.threads)
        self.started = time.perf_counter()
        self._machine = machine.describe(self.device)
        self._versions = machine.versions()

    @property
    def out_of_time(self) -> bool:
        """Whether no new row should begin."""
        allowed = self.settings.seconds
        return (allowed is not None
                and time.perf_counter() - self.started > allowed)

    def ceilings(self, dtype: str) -> Ceilings:
        """The machine's, measured once for each type."""
        if dtype not in self._ceilings:
            self._ceilings[dtype] = machine.measure_ceilings(
                self.clock, getattr(torch, dtype), self.quick)
        return self._ceilings[dtype]

    def limits(self, dtype: str, weight_bytes: float | None = None
               ) -> Limits:
        """The limits of this size; of int8 weights with ``weight_bytes=1``.
        """
        size = BYTES[dtype]
        return Limits(self.dims, self.ceilings(dtype),
                      size if weight_bytes is None else weight_bytes, size)

    def pair(self, dtype: str) -> Pair:
        """Both models, built once, after a proof that they are equal.

        Raises:
            BenchmarkError: If they are not.
        """
        if dtype not in self._pairs:
            self.ceilings(dtype)  # before memory is taken
            ours = build_ours(self.dims, dtype, self.device)
            if self._cuda:
                # Weights lie as they will, before the peer shares them.
                ours.prepare()
            peer = build_peer(ours, self.dims, dtype, self.device)
            # What is packed for speed later is no longer a parameter.
            self._weights[dtype] = dict(
                ours=weight_bytes(ours), P1=weight_bytes(peer))
            tokens = self.dims.queries + (16 if self.quick else 40)
            self._equal[dtype] = equality.check(ours, peer, self.dims, dtype,
                                                tokens)
            self._pairs[dtype] = Pair(ours, peer)
        return self._pairs[dtype]

    def weights(self, dtype: str) -> dict[str, int]:
        """Bytes of each side's weights, packed or not."""
        pair = self.pair(dtype)
        built = self._weights[dtype]
        return dict(
            ours=max(built['ours'], weight_bytes(pair.ours)),
            P1=max(built['P1'], weight_bytes(pair.peer)))

    def release(self) -> None:
        """Let the models go."""
        self._pairs.clear()
        gc.collect()
        if self._cuda:
            torch.cuda.empty_cache()

    def time(self, sides: dict[str, Jobs], rounds: int | None = None,
             warmup: int = 1) -> dict[str, dict[str, Sample]]:
        """Time jobs side by side, as often as this run allows."""
        if rounds is None:
            rounds = 3 if self.quick else 5 if self._cuda else 9
        return interleave(
            self.clock,
            sides,
            rounds,
            warmup,
            seconds=5 if self.quick else 60,
            done=self.ticked)

    def measure(self,
                record: Record,
                sides: dict[str, Jobs],
                amount: float,
                limit: Limit | None = None,
                goals: dict | None = None,
                rounds: int | None = None,
                warmup: int = 1) -> Record:
        """Time each side's job ``run``, less ``without`` where it has one.

        Args:
            record: Without its values.
            sides: Jobs; ours are ``ours``, the others are peers.
            amount: Things (tokens, images, pairs) of a run.
            limit: The least time that they could take.
            goals: As of :func:`records.judge`.
            rounds: Another number of rounds.
            warmup: Rounds that do not count; one at least.
        """
        sides, lost = self._that_fit(sides)
        if lost:
            record.note = f'not enough memory for {", ".join(lost)}'
        timed = self.time(sides, rounds, max(0, warmup - 1))
        values = {}
        for side, found in timed.items():
            seconds = found['run']
            if 'without' in found:
                seconds = seconds.minus(found['without'])
            if min(seconds.values) <= 0:
                raise BenchmarkError(
                    f'{record.row}: a longer run was timed as shorter; the '
                    'machine is too busy, or the run too short.')
            if record.unit == 'ms':
                values[side] = seconds.map(lambda x: 1000 * x)
            else:
                values[side] = seconds.map(lambda x: amount / x)
        bound, by = None, ''
        if limit is not None:
            bound, by = limit_rate(limit, amount)
            if record.unit == 'ms':
                bound = 1000 * limit.seconds
        ours = values.pop('ours')
        summarize(record, ours, values, bound, by)
        return self.finish(record, goals)

    def _that_fit(self, sides: dict[str, Jobs]
                  ) -> tuple[dict[str, Jobs], list[str]]:
        """Leave out peers that need more memory than there is."""
        found, lost = {}, []
        for side, jobs in sides.items():
            try:
                for job in jobs.values():  # a warm-up as well
                    job()
                found[side] = jobs
            except torch.OutOfMemoryError:
                if side == 'ours':
                    raise
                lost.append(side)
            if lost and self._cuda:
                gc.collect()
                torch.cuda.empty_cache()
        return found, lost

    def finish(self, record: Record, goals: dict | None = None) -> Record:
        """Judge a record and add what all records share."""
        judge(record, goals or {})
        dtype = record.settings.get('dtype', 'float32')
        record.context = dict(
            dims=self.dims.name,
            device=str(self.device),
            threads=self.settings.threads,
            clock=self.clock.name,
            quick=self.quick,
            ceilings={
                name: dict(flops=found.flops, bandwidth=found.bandwidth)
                for name, found in self._ceilings.items()
            },
            equality=self._equal.get(dtype),
            machine=self._machine,
            versions=self._versions,
            date=datetime.datetime.now().astimezone().isoformat(
                timespec='seconds'),
            command=self.settings.command)
        return record
