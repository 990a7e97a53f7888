# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Rows: what they say, how they are judged, written and read."""

import json

import pytest
import torch
from benchmark import jobs, machine
from benchmark.clock import Clock, Sample
from benchmark.records import Record, judge, read_lines, summarize
from benchmark.roofline import Limit

from mmpretrain_minigpt4.errors import BenchmarkError

FIELDS = {
    'suite', 'row', 'unit', 'better', 'value', 'spread', 'rounds', 'peers',
    'limit', 'goal', 'curve', 'settings', 'note', 'dims', 'device',
    'threads', 'clock', 'quick', 'ceilings', 'equality', 'machine',
    'versions', 'date', 'command'
}


def jobs_of(seconds):

    def job():
        torch.randn(int(seconds * 1e6)).sin_()

    return dict(run=job)


def test_a_line_has_all_that_is_needed_to_repeat_it(bench):
    record = bench.measure(
        Record('cpu', 'sines', 'things/s', settings=dict(dtype='float32')),
        dict(ours=jobs_of(1), P1=jobs_of(2)), 10, Limit(1e-5, 'memory'),
        dict(P1=0.001))
    line = json.loads(record.to_json())
    assert set(line) == FIELDS
    assert line['value'] > 0 and line['rounds'] == 3
    assert line['peers']['P1']['ratio'] > 1
    assert 0 < line['limit']['share'] < 1
    assert line['goal'] == dict(P1=0.001, met=True)
    assert line['machine']['cpu'] and line['versions']['torch']
    assert line['command'] == 'by hand'


def test_ratios_above_one_mean_that_ours_is_better():
    ours, theirs = Sample((2.0, 2.0, 2.0)), dict(P1=Sample((4.0, 4.0, 4.0)))
    fast = summarize(Record('cpu', 'a', 'x/s'), ours, theirs, 8.0, 'memory')
    assert fast.peers['P1']['ratio'] == 0.5
    assert fast.limit == dict(value=8.0, by='memory', share=0.25)
    short = summarize(
        Record('cpu', 'a', 'ms', 'lower'), ours, theirs, 1.0, 'memory')
    assert short.peers['P1']['ratio'] == 2.0
    assert short.limit['share'] == 0.5


@pytest.mark.parametrize(('better', 'value', 'goals', 'met'), [
    ('higher', 10, dict(value=9), True),
    ('higher', 10, dict(value=11), False),
    ('lower', 10, dict(value=11), True),
    ('lower', 10, dict(value=9), False),
    ('near', 1.01, dict(near=[0.98, 1.02]), True),
    ('near', 1.03, dict(near=[0.98, 1.02]), False),
    ('higher', 10, dict(P1=2.0), True),
    ('higher', 10, dict(P1=3.0), False),
    ('higher', 10, dict(P1=2.0, value=11), False),
    # A peer that was not measured leaves a goal open.
    ('higher', 10, dict(P2=1.1), None),
    ('higher', None, dict(value=1), None),
])
def test_goals_are_judged(better, value, goals, met):
    record = Record('cpu', 'a', 'x', better, value=value,
                    peers=dict(P1=dict(ratio=2.5)))
    judge(record, goals)
    assert record.goal == dict(goals, met=met)


def test_a_row_measured_again_replaces_the_first(tmp_path, line):
    path = tmp_path / 'results.jsonl'
    other = dict(line, row='vision')
    path.write_text('\n'.join(
        json.dumps(x) for x in (line, other, dict(line, value=170.0))))
    found = read_lines([path])
    assert [(x['row'], x['value']) for x in found] == [
        ('vision', 150.0), ('decode, batch 1', 170.0)]


def test_a_line_that_is_no_record_is_named(tmp_path, line):
    path = tmp_path / 'results.jsonl'
    path.write_text(json.dumps(line) + '\n{"suite": "cpu"}\n')
    with pytest.raises(BenchmarkError, match='line 2 is no record'):
        read_lines([path])
    with pytest.raises(BenchmarkError, match='cannot be read'):
        read_lines([tmp_path / 'nowhere.jsonl'])


def test_an_answer_of_another_length_is_not_timed():
    jobs.check_lengths([8, 8], 8)
    with pytest.raises(BenchmarkError, match=r'\[5\]'):
        jobs.check_lengths([8, 5], 8)


def test_a_longer_run_that_was_timed_as_shorter_says_nothing(bench):
    with pytest.raises(BenchmarkError, match='timed as shorter'):
        bench.measure(
            Record('cpu', 'a', 'x/s'),
            dict(ours=dict(jobs_of(0.01), without=jobs_of(3)['run'])), 1)


def test_ceilings_are_those_of_real_work():
    found = machine.measure_ceilings(
        Clock(torch.device('cpu')), torch.float32, quick=True)
    # Any CPU of this decade, and none there will be soon.
    assert 1e9 < found.flops < 1e14
    assert 1e9 < found.bandwidth < 1e13
