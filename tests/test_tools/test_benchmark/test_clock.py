# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Times by turns, medians and spreads."""

import pytest
import torch
from benchmark.clock import Clock, Sample, interleave
from benchmark.ragged import draw_lengths
from benchmark.suites.scaling import slope

CPU = torch.device('cpu')


class Counting:
    """A clock that tells times from a list, and who was timed when."""

    def __init__(self, seconds):
        self.seconds = iter(seconds)

    def time(self, job):
        job()
        return next(self.seconds)


def test_sides_take_turns_and_the_warm_up_does_not_count():
    seen = []
    clock = Counting(range(100))
    found = interleave(
        clock, dict(
            A=dict(run=lambda: seen.append('A')),
            B=dict(run=lambda: seen.append('B'))), rounds=3, warmup=1)
    assert ''.join(seen) == 'BAABBAAB'
    assert found['A']['run'].values == (2, 5, 6)
    assert found['B']['run'].values == (3, 4, 7)


def test_no_round_begins_after_the_time_but_three_are_made():
    found = interleave(
        Counting(range(100)), dict(A=dict(run=lambda: None)), rounds=9,
        seconds=0.0)
    assert len(found['A']['run'].values) == 3


def test_the_spread_is_half_of_the_middle_half():
    sample = Sample((90.0, 95.0, 100.0, 105.0, 1000.0))
    assert sample.median == 100
    assert sample.spread == pytest.approx(0.05)


def test_ratios_are_of_the_same_round():
    # The machine was twice as slow in the second round, for both.
    ratio = Sample((2.0, 4.0)).over(Sample((1.0, 2.0)))
    assert ratio.values == (2.0, 2.0) and ratio.spread == 0


def test_one_thread_is_timed_by_what_the_process_used():
    assert Clock(CPU, 1).name == 'CPU time'
    assert Clock(CPU, 2).name == 'wall time'
    import time
    assert Clock(CPU, 1).time(lambda: time.sleep(0.05)) < 0.04
    assert Clock(CPU, 2).time(lambda: time.sleep(0.05)) > 0.04


def test_the_slope_is_the_exponent_of_growth():
    x = [1, 2, 4, 8]
    assert slope(x, [3 * v for v in x]) == pytest.approx(1)
    assert slope(x, [v**2 for v in x]) == pytest.approx(2)
    assert slope(x, [5.0] * 4) == pytest.approx(0)


def test_uneven_lengths_repeat_and_keep_their_mean_and_cap():
    lengths = draw_lengths(4000)
    assert lengths == draw_lengths(4000)
    assert sum(lengths) / 4000 == pytest.approx(80, rel=0.05)
    assert max(lengths) == 300 and min(lengths) >= 1
