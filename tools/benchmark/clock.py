# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Timing side by side: warmed, by turns, medians with their spread."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

# A side's jobs by name, all of them timed in each round.
Jobs = Mapping[str, Callable[[], object]]


@dataclass(frozen=True)
class Sample:
    """Repeated measurements of one thing.

    Attributes:
        values: In the order in which they were taken.
    """
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle value."""
        return statistics.median(self.values)

    @property
    def spread(self) -> float:
        """Half of the range that holds the middle half, over the median.

        0.02 means that half of the values lie within 2 % of the median.
        """
        if len(self.values) < 2 or not self.median:
            return 0.0
        first, _, third = statistics.quantiles(
            self.values, n=4, method='inclusive')
        return (third - first) / 2 / abs(self.median)

    def map(self, change: Callable[[float], float]) -> Sample:
        """Each value through a function."""
        return Sample(tuple(map(change, self.values)))

    def over(self, other: Sample) -> Sample:
        """Ratios of the values taken in the same round."""
        return Sample(
            tuple(a / b for a, b in zip(
                self.values, other.values, strict=True)))

    def minus(self, other: Sample) -> Sample:
        """Differences of the values taken in the same round."""
        return Sample(
            tuple(a - b for a, b in zip(
                self.values, other.values, strict=True)))


class Clock:
    """Times a call on a device.

    On a GPU by CUDA events. On a CPU with one thread by the processor time
    of the process, which other processes on the machine do not lengthen;
    with more threads by the wall clock.

    Args:
        device: Where the work is done.
        threads: Of torch, on a CPU.
    """

    def __init__(self, device: torch.device, threads: int = 1) -> None:
        self.device = device
        if device.type == 'cuda':
            self.name = 'CUDA events'
        else:
            self.name = 'CPU time' if threads == 1 else 'wall time'
        self._read = (time.process_time
                      if self.name == 'CPU time' else time.perf_counter)

    def time(self, job: Callable[[], object]) -> float:
        """Seconds that a call takes."""
        if self.device.type == 'cuda':
            begin = torch.cuda.Event(enable_timing=True)
            end = torch.cuda.Event(enable_timing=True)
            torch.cuda.synchronize()
            begin.record()
            job()
            end.record()
            torch.cuda.synchronize()
            return begin.elapsed_time(end) / 1000
        start = self._read()
        job()
        return self._read() - start


def interleave(clock: Clock,
               sides: Mapping[str, Jobs],
               rounds: int = 5,
               warmup: int = 1,
               seconds: float = 60.0,
               done: Callable[[], None] = lambda: None
               ) -> dict[str, dict[str, Sample]]:
    """Time all sides' jobs by turns: A B, B A, A B, ...

    What slows the machine down for a while then slows all sides.

    Args:
        clock: Takes the times.
        sides: Jobs of each side by name.
        rounds: How often each job is timed; at least 3 whatever the time.
        warmup: Rounds before, that do not count.
        seconds: After this long no new round begins.
        done: Called after each round.

    Returns:
        dict: A sample for each side and job.
    """
    found = {side: {job: [] for job in jobs} for side, jobs in sides.items()}
    order = list(sides)
    started = time.perf_counter()
    for i in range(warmup + rounds):
        if i >= warmup + min(3, rounds) and (time.perf_counter() - started >
                                             seconds):
            break
        for side in order if i % 2 else reversed(order):
            for name, job in sides[side].items():
                taken = clock.time(job)
                if i >= warmup:
                    found[side][name].append(taken)
        done()
    return {
        side: {job: Sample(tuple(values)) for job, values in jobs.items()}
        for side, jobs in found.items()
    }
