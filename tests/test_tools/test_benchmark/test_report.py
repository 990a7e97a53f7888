# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Tables and pictures from JSON lines, and the page they go into."""

import json

import pytest
from benchmark import report
from benchmark.command import main
from PIL import Image

from mmpretrain_minigpt4.errors import BenchmarkError

PAGE = f'# Title\n\nBefore.\n\n{report.BEGIN}\nold\n{report.END}\n\nAfter.\n'


@pytest.fixture
def page(tmp_path):
    path = tmp_path / 'benchmarks.md'
    path.write_text(PAGE)
    return path


@pytest.fixture
def curve(line):
    return dict(
        line, row='time over images', unit='slope', value=1.0, peers={},
        limit=None, goal=dict(near=[0.98, 1.02], met=True),
        curve=dict(x=[1, 2, 4], unit='s', ours=[0.1, 0.2, 0.4],
                   P1=[0.2, 0.4, 0.8]))


def cells(text, row):
    found, = [x for x in text.splitlines() if x.startswith(f'| {row} ')]
    return [cell.strip() for cell in found.strip('|').split('|')]


def test_a_row_tells_value_peer_limit_and_goal(line):
    assert cells(report.table([line]), 'decode, batch 1') == [
        'decode, batch 1', '150 ±1% tokens/s', '50.0 ±2%', '3.00x',
        '200 (memory)', '75%', '>= 2.5x P1, >= 180: **missed**']


def test_a_row_without_value_says_why(line):
    line = dict(line, value=None, note='out of memory')
    assert cells(report.table([line]), 'decode, batch 1')[1] == (
        'out of memory')


def test_an_open_goal_is_not_met(line):
    line['goal'] = dict(P2=1.1, met=None)
    assert 'P2: open' in report.table([line])


@pytest.mark.parametrize(('value', 'text'), [
    (12345.6, '12,346'), (150.2, '150'), (15.02, '15.0'), (1.502, '1.50'),
    (0.1502, '0.150'), (None, '-')])
def test_numbers_have_the_digits_that_count(value, text):
    assert report.number(value) == text


def test_the_page_gets_results_between_its_marks_alone(page, line, curve):
    report.write_docs(page, [line, curve], page.parent / 'benchmarks')
    text = page.read_text()
    assert text.startswith('# Title\n\nBefore.\n\n' + report.BEGIN)
    assert text.endswith(report.END + '\n\nAfter.\n')
    assert 'old' not in text and '150 ±1% tokens/s' in text
    for part in ('a GPU', 'torch 2.13', '2026-01-02', '3,000 GB/s',
                 'tools/benchmark.py --suite gpu'):
        assert part in text
    picture = page.parent / 'benchmarks' / 'time_over_images.png'
    assert '(benchmarks/time_over_images.png)' in text
    assert picture.stat().st_size < 30_000
    with Image.open(picture) as image:
        assert image.size == (336, 224)
    assert [x.name for x in picture.parent.iterdir()] == [picture.name]


def test_the_page_tells_each_command_once(page, line):
    other = dict(line, row='another row', command='tools/benchmark.py --x')
    report.write_docs(page, [line, other, line], page.parent / 'benchmarks')
    assert ('Commands: `tools/benchmark.py --suite gpu`, '
            '`tools/benchmark.py --x`.') in page.read_text()


def test_writing_twice_changes_nothing(page, line, curve):
    for _ in range(2):
        report.write_docs(page, [line, curve], page.parent / 'benchmarks')
        texts = page.read_text()
    report.write_docs(page, [line, curve], page.parent / 'benchmarks')
    assert page.read_text() == texts


def test_a_page_without_marks_is_left_alone(page, line):
    page.write_text('no marks')
    with pytest.raises(BenchmarkError, match='end of results'):
        report.write_docs(page, [line], page.parent / 'benchmarks')
    assert page.read_text() == 'no marks'


def test_the_command_writes_the_page(page, line, tmp_path, capsys):
    results = tmp_path / 'results.jsonl'
    results.write_text(json.dumps(line) + '\n')
    assert main(['--write-docs', str(results), '--page', str(page)]) == 0
    assert 'wrote 1 rows' in capsys.readouterr().out
    assert '150 ±1% tokens/s' in page.read_text()


def test_a_known_error_is_one_line(page, tmp_path, capsys):
    gone = str(tmp_path / 'gone.jsonl')
    assert main(['--write-docs', gone, '--page', str(page)]) == 1
    out, err = capsys.readouterr()
    assert not out and err.count('\n') == 1 and 'gone.jsonl' in err
    assert page.read_text() == PAGE
