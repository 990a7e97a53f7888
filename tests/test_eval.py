# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""`minigpt4 eval` and the shapes benchmark, on the tiny twin."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest

import mmpretrain_minigpt4
from mmpretrain_minigpt4.apis.evaluation import (
    benchmark_config,
    replace_prefix,
)
from mmpretrain_minigpt4.benchmarks import find_benchmark, list_benchmarks
from mmpretrain_minigpt4.cli import main
from mmpretrain_minigpt4.engine.runners import eval_loop as test_loop
from mmpretrain_minigpt4.errors import ConfigError

ROOT = Path(mmpretrain_minigpt4.__file__).parents[1]
SHAPES = 'minigpt-4_tiny_shapes'

needs_tiny = pytest.mark.skipif(
    not (ROOT / 'mmpretrain_minigpt4' / 'assets' / 'tiny' /
         'projection.safetensors').is_file(),
    reason='the weights of the tiny twin are not in this copy')


def test_the_list_says_what_to_download(capsys):
    assert main(['eval', '--list', '--json']) == 0
    rows = [json.loads(x) for x in capsys.readouterr().out.splitlines()]
    by_name = {row['name']: row for row in rows}
    assert len(rows) == len(list_benchmarks()) >= 26
    for row in rows:
        assert row['files'] and row['samples'] and row['metrics'], row
    assert 'RUCAIBox/POPE' in by_name['pope_random']['files']
    assert by_name['pope_random']['metrics'] == ['POPE']
    assert by_name['chair_long']['task'] == 'describe'
    assert main(['eval', '--list']) == 0
    assert 'pope_random' in capsys.readouterr().out


def test_a_name_that_is_none_is_told_near_ones(capsys):
    with pytest.raises(ConfigError, match='pope_random'):
        find_benchmark('pope_randm')
    assert main(['eval', 'pope_randm']) == 3
    assert main(['eval']) == 2
    assert main(['eval', 'mme', '--limit', '0']) == 2


def test_a_folder_of_results_that_cannot_be_is_named(tmp_path, capsys):
    (tmp_path / 'file').write_text('')
    assert main(['eval', 'mme', '--out', str(tmp_path / 'file')]) == 3
    assert 'file is no folder' in capsys.readouterr().err


@pytest.mark.parametrize('benchmark', list_benchmarks(), ids=lambda x: x.name)
def test_files_are_looked_for_below_the_data_root(benchmark, tmp_path):
    cfg = benchmark_config(
        benchmark, tmp_path / 'out', model='minigpt-4_tiny_vqa',
        data_root=str(tmp_path / 'here'))
    text = json.dumps([cfg.test_dataloader, cfg.test_evaluator], default=str)
    assert not re.search(r'"(data|work_dirs)[/"]', text)
    assert cfg.model.projector.out_channels == 160
    if benchmark.name != SHAPES:
        assert str(tmp_path / 'here') in text


def test_only_whole_folders_are_moved():
    values = ['data', 'data/a', 'database/a', 1]
    assert replace_prefix(values, 'data', '/x') == [
        '/x', '/x/a', 'database/a', 1]


@pytest.mark.parametrize('benchmark', [
    x for x in list_benchmarks() if x.name != SHAPES], ids=lambda x: x.name)
def test_a_missing_file_is_told_where_to_get_it(benchmark, tmp_path):
    from mmpretrain_minigpt4.apis.evaluation import check_files
    from mmpretrain_minigpt4.errors import DatasetError
    cfg = benchmark_config(benchmark, tmp_path, model='minigpt-4_tiny_vqa',
                           data_root=str(tmp_path / 'here'))
    with pytest.raises(DatasetError) as error:
        check_files(cfg)
    told = str(error.value)
    assert str(tmp_path / 'here') in told and 'Download: ' in told
    assert 'It belongs here:' in told


@pytest.fixture
def questions(tmp_path, monkeypatch):
    from helpers import benchmark_files
    monkeypatch.chdir(tmp_path)
    benchmark_files.pope('random')()
    return tmp_path


def test_answers_given_elsewhere_are_scored(questions, capsys):
    Path('given.jsonl').write_text(''.join(
        json.dumps(dict(question_id=i, answer=text)) + '\n'
        for i, text in enumerate(['Yes, a dog.', 'No.', 'Yes.'])))
    words = ['eval', 'pope_random', '--out', 'out', '--json', '--answers']
    assert main([*words, 'given.jsonl']) == 0
    row = json.loads(capsys.readouterr().out)
    assert row['metrics']['POPE/accuracy'] == pytest.approx(200 / 3)
    page = Page(Path('out/pope_random.html').read_text())
    assert page.cards == ['right', 'right', 'wrong']
    assert len(page.loads) == 3  # the image of each


def test_answers_that_do_not_match_the_questions_are_refused(
        questions, capsys):
    lines = [dict(question_id=i, answer='Yes.') for i in (0, 0, 2, 8)]
    Path('given.jsonl').write_text('\n'.join(map(json.dumps, lines)))
    words = ['eval', 'pope_random', '--out', 'out', '--json', '--answers',
             'given.jsonl']
    assert main(words) == 3
    told = json.loads(capsys.readouterr().out)['error']
    for fault in ('has 3 faults', 'answered twice: 1 (0)',
                  'of no question: 1 (8)', 'not answered: 1 (1)'):
        assert fault in told
    assert not Path('out/pope_random.json').exists()
    assert main([*words, '--max-faults', '3']) == 0
    row = json.loads(capsys.readouterr().out)
    assert row['samples'] == dict(answered=2, failed=0, of=3,
                                  not_extracted=0)


class Page(HTMLParser):
    """What a page holds, and whether its marks are closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.cards, self.loads = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.loads += [attrs[k] for k in ('src', 'href') if k in attrs]
        if 'card' in attrs.get('class', '').split():
            self.cards.append(attrs['class'].split()[1])
        if tag not in ('meta', 'img', 'input'):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@needs_tiny
def test_a_killed_evaluation_goes_on_and_a_failing_one_stops_no_other(
        tmp_path, capsys, monkeypatch):
    words = ['eval', 'pope_random', SHAPES, '--limit', '9', '--batch-size',
             '4', '--model', 'minigpt-4_tiny_caption', '--data-root',
             str(tmp_path / 'nowhere'), '--json', '--out']
    assert main([*words, str(tmp_path / 'whole')]) == 1
    failed, whole = map(json.loads, capsys.readouterr().out.splitlines())
    assert 'It belongs here' in failed['error'] and whole['error'] is None
    assert whole['samples']['answered'] == 9

    generate_samples = test_loop.generate_samples

    def killed(*args):
        for number, sample in enumerate(generate_samples(*args)):
            if number == 5:
                raise KeyboardInterrupt
            yield sample

    with monkeypatch.context() as patch:
        patch.setattr(test_loop, 'generate_samples', killed)
        assert main([*words, str(tmp_path / 'cut')]) == 130
    capsys.readouterr()
    assert main([*words, str(tmp_path / 'cut')]) == 1
    _, rest = map(json.loads, capsys.readouterr().out.splitlines())
    assert rest['metrics'] == whole['metrics']
    summary = json.loads((tmp_path / 'cut' / f'{SHAPES}.json').read_text())
    assert summary['answered_in_this_call'] == 4
    assert (tmp_path / 'cut' / f'{SHAPES}.jsonl').read_bytes().split(b'\n')[
        1:] == (tmp_path / 'whole' / f'{SHAPES}.jsonl').read_bytes().split(
            b'\n')[1:]
    page = Page((tmp_path / 'cut' / f'{SHAPES}.html').read_text())
    assert len(page.cards) == 9 and set(page.cards) <= {'right', 'wrong'}
    assert all(x.startswith('data:image/jpeg') for x in page.loads)


@needs_tiny
@pytest.mark.slow
def test_a_run_that_is_killed_for_real_gives_the_same_numbers(tmp_path):
    env = dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1')
    words = [sys.executable, str(ROOT / 'tools' / 'test.py'),
             str(find_benchmark(SHAPES).config), '--out']
    few = ['--cfg-options', 'test_dataloader.dataset.num_scenes=40',
           'test_dataloader.batch_size=8']

    def numbers(name):
        return json.loads((tmp_path / f'{name}.json').read_text())

    def ask(name, *launcher):
        done = subprocess.run(
            [*launcher, *words[bool(launcher):], str(tmp_path /
                                                     f'{name}.jsonl'),
             *(['--launcher', 'pytorch'] if launcher else []), *few],
            env=env, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]

    ask('whole')
    path = tmp_path / 'cut.jsonl'
    process = subprocess.Popen([*words, str(path), *few], env=env,
                               cwd=tmp_path, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    while not path.is_file() or path.read_bytes().count(b'\n') < 40:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / 'cut.json').exists()
    two = [sys.executable, '-m', 'torch.distributed.run', '--standalone',
           '--nproc-per-node=2']
    # What one process began, two finish.
    ask('cut', *two)
    assert 0 < numbers('cut')['answered_in_this_call'] < 90
    ask('two', *two)
    assert numbers('two')['processes'] == 2
    assert numbers('whole')['metrics'] == numbers('cut')['metrics'] == (
        numbers('two')['metrics'])


@needs_tiny
def test_an_evaluation_answers_through_the_engines_stream(
        questions, capsys, monkeypatch):
    from mmpretrain_minigpt4.models import MiniGPT4

    def refuse(model, data):
        raise AssertionError('answered batch by batch')

    monkeypatch.setattr(MiniGPT4, 'test_step', refuse)
    assert main(['eval', 'pope_random', '--model', 'minigpt-4_tiny_vqa',
                 '--out', 'out', '--json']) == 0
    row = json.loads(capsys.readouterr().out)
    assert row['samples']['answered'] == row['samples']['of'] == 3
