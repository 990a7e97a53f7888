# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Suites from the command line to the JSON lines, at the smallest size."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from benchmark import running
from benchmark.bench import Case, Settings
from benchmark.command import SUITES, main
from benchmark.memory import peak_bytes
from benchmark.records import Record
from benchmark.toolbox import add_peer, check_python

from mmpretrain_minigpt4.errors import BenchmarkError

ROOT = Path(__file__).resolve().parents[3]
CPU = torch.device('cpu')


def measured(path):
    return [json.loads(x) for x in path.read_text().splitlines()]


def test_rows_are_written_and_printed(tmp_path, capsys):
    out = tmp_path / 'results.jsonl'
    code = main(['--dims', 'tiny', '--quick', '--suite', 'cpu', '--only',
                 'decode 1', '--only', 'training', '--out', str(out)])
    lines = measured(out)
    assert code == 0
    assert [x['row'] for x in lines] == [
        'decode, batch 1', 'stage 1 step, batch 4',
        'stage 1 step, batch 4, features kept']
    for line in lines:
        # What is only true of this machine is not told.
        assert line['command'].endswith('--only training')
        assert line['value'] > 0 and line['peers']['P1']['ratio'] > 0
        assert 0 < line['limit']['share'] < 1
        assert line['equality']['logits'] < 1e-5
    printed = capsys.readouterr().out
    assert 'decode, batch 1' in printed and 'ratio to P1' in printed


def test_the_suite_for_gpus_can_be_tried_on_a_cpu(tmp_path):
    out = tmp_path / 'results.jsonl'
    code = main(['--dims', 'tiny', '--quick', '--suite', 'gpu', '--device',
                 'cpu', '--only', 'first', '--only', 'ragged', '--out',
                 str(out)])
    first, ragged = measured(out)
    assert code == 0
    assert first['unit'] == 'ms' and first['goal'] is None
    assert 0.5 < ragged['settings']['occupancy'] <= 1
    assert ragged['settings']['dtype'] == 'bfloat16'


def test_parts_of_the_way_through_a_gpu_are_switched_off_one_by_one(
        tmp_path):
    out = tmp_path / 'results.jsonl'
    assert main(['--dims', 'tiny', '--quick', '--suite', 'gpu', '--device',
                 'cpu', '--only', 'cold', '--only', 'ablations 1', '--only',
                 'loader', '--out', str(out)]) == 0
    first, *parts, loader = measured(out)
    assert first['value'] > 0 and first['settings']['later_seconds'] > 0
    assert [x['row'] for x in parts] == [
        f'decode, batch 1, {part}'
        for part in ('graphs', 'kernels', 'joined weights', 'lag')]
    assert all(x['peers']['off']['ratio'] > 0 for x in [*parts, loader])
    assert loader['settings']['captions'] == 6


def test_suites_on_the_command_line_are_those_there_are():
    assert set(SUITES) == set(running.SUITES)


def test_a_row_that_needs_too_much_memory_does_not_end_the_run(
        monkeypatch, dims):

    def fail():
        raise torch.OutOfMemoryError('CUDA out of memory. Tried a lot.')

    monkeypatch.setitem(
        running.SUITES, 'cpu', lambda bench: [
            Case('first', fail),
            Case('second', lambda: [Record('cpu', 'second', 's', value=1.0)])
        ])
    first, second = running.run_suites(['cpu'], Settings(dims, CPU))
    assert first.value is None and 'out of memory' in first.note
    assert second.value == 1.0


def test_no_row_begins_once_the_time_is_over(monkeypatch, dims):
    monkeypatch.setitem(running.SUITES, 'cpu', lambda bench: [
        Case('first', lambda: pytest.fail('was begun'))])
    record, = running.run_suites(['cpu'], Settings(dims, CPU, seconds=-1.0))
    assert record.value is None and 'out of time' in record.note


def test_threads_are_as_before_after_a_run(monkeypatch, dims):
    before, seen = torch.get_num_threads(), []
    monkeypatch.setitem(running.SUITES, 'cpu', lambda bench: [
        Case('a', lambda: seen.append(torch.get_num_threads()) or [])])
    running.run_suites(['cpu'], Settings(dims, CPU, threads=before + 1))
    assert seen == [before + 1] and torch.get_num_threads() == before


def test_the_peak_counts_what_a_call_let_go():
    size = 64 * 2**20

    def job():
        torch.ones(size // 4).sum()

    # The kernel counts pages, and not all of them at once.
    assert 0.98 * size <= peak_bytes(CPU, job) < 1.5 * size


def test_a_peer_that_needs_too_much_memory_is_left_out(bench):

    def fail():
        raise torch.OutOfMemoryError('CUDA out of memory.')

    def job():
        torch.randn(100_000).sin_()

    record = Record('gpu', 'a', 'x/s')
    bench.measure(record, dict(ours=dict(run=job), P1=dict(run=fail)), 1)
    assert record.value > 0 and not record.peers
    assert record.note == 'not enough memory for P1'
    with pytest.raises(torch.OutOfMemoryError):
        bench.measure(record, dict(ours=dict(run=fail)), 1)


def test_the_toolbox_itself_is_put_beside_the_rows_it_can_do(tmp_path, dims):
    python = tmp_path / 'python'
    answer = dict(rows={'vision, batch 2': [4.0, 5.0, 6.0]},
                  versions=dict(transformers='4.49.0'))
    python.write_text(f"#!/bin/sh\necho noise\necho '{json.dumps(answer)}'\n")
    python.chmod(0o755)
    seen = Record('cpu', 'vision, batch 2', 'images/s', value=10.0, rounds=3,
                  settings=dict(dtype='float32', batch=2),
                  context=dict(versions=dict(torch='2')))
    other = Record('cpu', 'stage 1 step, batch 4', 'pairs/s', value=1.0,
                   settings=dict(dtype='float32', batch=4))
    assert add_peer(str(python), dims, [seen, other], 1) == [seen]
    assert seen.peers['P3'] == dict(
        value=5.0, spread=0.1, ratio=2.0, ratio_spread=None)
    assert seen.context['versions']['P3']['transformers'] == '4.49.0'
    assert not other.peers


def test_a_python_without_the_toolbox_says_what_it_lacks(tmp_path):
    python = tmp_path / 'python'
    python.write_text('#!/bin/sh\necho "no module mmpretrain" >&2\nexit 1\n')
    python.chmod(0o755)
    with pytest.raises(BenchmarkError, match=r'no module mmpretrain\. Give'):
        check_python(str(python))


@pytest.mark.parametrize(('argv', 'message'), [
    (['--dims', '70b'], 'no size'),
    (['--device', 'nowhere'], 'no device'),
    (['--threads', '0'], 'at least 1'),
    (['--dims', 'tiny', '--only', 'nothing of this name'], 'No case'),
    (['--toolbox-python', 'nowhere/python'], 'nowhere/python'),
])
def test_a_slip_in_the_options_is_one_line(argv, message, capsys):
    assert main(argv) == 1
    out, err = capsys.readouterr()
    assert message in err and err.strip().count('\n') == 0 and not out


@pytest.mark.slow
def test_the_quick_suite_takes_less_than_two_minutes(tmp_path):
    out = tmp_path / 'results.jsonl'
    started = time.perf_counter()
    subprocess.run([
        sys.executable, 'tools/benchmark.py', '--quick', '--out', str(out)
    ], cwd=ROOT, check=True)
    assert time.perf_counter() - started < 120
    assert all(x['dims'] == 'bench' and x['quick'] for x in measured(out))
    assert len(measured(out)) == 9


@pytest.mark.slow
@pytest.mark.parametrize('suite', SUITES)
def test_every_row_of_every_suite_has_a_value(suite, tmp_path):
    out = tmp_path / 'results.jsonl'
    assert main(['--dims', 'tiny', '--quick', '--device', 'cpu', '--suite',
                 suite, '--out', str(out)]) == 0
    for line in measured(out):
        assert line['value'] is not None, line['note']


@pytest.mark.gpu
def test_rows_are_measured_on_a_gpu(tmp_path):
    out = tmp_path / 'results.jsonl'
    assert main(['--dims', 'bench', '--quick', '--suite', 'gpu', '--out',
                 str(out)]) == 0
    for line in measured(out):
        assert line['clock'] == 'CUDA events' and line['machine']['gpu']
        assert line['value'] is not None, line['note']
