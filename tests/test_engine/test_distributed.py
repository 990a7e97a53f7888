# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Two real processes under torchrun, on CPUs."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from asked import build as build_test
from tiny_run import Numbers, TinyModel, build

from mmpretrain_minigpt4.engine import distributed, train_loop
from mmpretrain_minigpt4.engine.snapshot import newest_whole
from mmpretrain_minigpt4.errors import ConfigError

HERE = Path(__file__).parent


@pytest.fixture(scope='module')
def two(tmp_path_factory):
    """The folder, the two reports, and how torchrun ended."""
    folder = tmp_path_factory.mktemp('two')
    root = str(HERE.parents[1])
    env = dict(os.environ, PYTHONPATH=root, OMP_NUM_THREADS='1',
               CUDA_VISIBLE_DEVICES='')
    done = subprocess.run(
        [
            sys.executable, '-m', 'torch.distributed.run', '--standalone',
            '--nproc-per-node=2', str(HERE / 'two_processes.py'),
            str(folder)
        ],
        env=env, capture_output=True, text=True, timeout=300)
    reports = [
        json.loads((folder / f'rank{rank}.json').read_text())
        for rank in (0, 1)
    ]
    return folder, reports, done


def test_the_gradient_is_that_of_one_process_with_the_doubled_batch(
        two, tmp_path):
    model = TinyModel(dropout=0.)
    build(
        tmp_path, steps=1, model=model, dataset=Numbers(noise=False),
        param_scheduler=None, loader=dict(batch_size=8),
        wrapper=dict(
            optimizer=dict(type='SGD', lr=1., weight_decay=0.))).train()
    _, reports, _ = two
    assert reports[0]['weight'] == reports[1]['weight']
    torch.testing.assert_close(
        torch.tensor(reports[0]['weight']), model.projector.weight.detach())


def test_a_signal_to_one_process_saves_and_ends_both(two):
    folder, reports, _ = two
    for report in reports:
        assert report['code'] == 143
        assert report['cut'] == report['whole']
    # Each saw its own half of the data.
    assert reports[0]['whole'] != reports[1]['whole']
    assert len(newest_whole(folder / 'cut')[0].state['ranks']) == 2


def test_two_processes_give_the_answers_of_one(two, tmp_path):
    folder, reports, _ = two
    one = build_test(tmp_path, size=11)
    scores = one.test()
    # None twice, none lost, and no padding: 11 in two processes.
    asked = [report['test']['asked'] for report in reports]
    assert [len(x) for x in asked] == [6, 5]
    assert sorted(sum(asked, [])) == [*range(11)]
    assert [report['test']['scores'] for report in reports] == [scores] * 2
    assert (folder / 'asked' / 'answers.jsonl').read_text().splitlines()[
        1:] == (tmp_path / 'answers.jsonl').read_text().splitlines()[1:]
    assert not [*(folder / 'asked').glob('*.rank*')]


def test_one_process_goes_on_where_two_were_broken_off(two, tmp_path):
    folder, _, _ = two
    shutil.copytree(folder / 'asked_cut', tmp_path / 'cut')
    assert (tmp_path / 'cut' / 'answers.rank1.jsonl').is_file()
    one, rest = build_test(tmp_path / 'one', size=11), build_test(
        tmp_path / 'cut', size=11)
    assert rest.test() == one.test()
    assert {6, 7} < set(rest.model.asked) and len(rest.model.asked) < 11
    assert (tmp_path / 'cut' / 'answers.jsonl').read_text().splitlines()[
        1:] == (tmp_path / 'one' / 'answers.jsonl').read_text().splitlines()[
            1:]


def test_a_process_that_dies_ends_the_job(two):
    _, _, done = two
    assert done.returncode != 0
    assert 'process 1 dies' in done.stderr
    assert 'lost another process' in done.stderr or (
        'exitcode  : 7' in done.stderr)


def test_a_model_that_is_not_shared_is_refused(monkeypatch):
    monkeypatch.setattr(train_loop, 'get_world_size', lambda: 2)
    with pytest.raises(ConfigError, match='not wrapped'):
        train_loop.refuse_unwrapped(TinyModel())


def test_torchrun_without_a_launcher_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv('RANK', '0')
    monkeypatch.setenv('WORLD_SIZE', '2')
    with pytest.raises(ConfigError, match='--launcher pytorch'):
        build(tmp_path)


@pytest.mark.parametrize('launcher, how', [
    ('pytorch', 'torchrun'), ('slurm', 'srun'), ('mpi', 'mpirun')])
def test_a_launcher_that_did_not_launch_is_refused(
        monkeypatch, launcher, how):
    for name in ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK'):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match=how):
        distributed.check_launcher(launcher)


def test_frozen_weights_that_differ_are_refused(monkeypatch):

    def as_if_another_had_less(data, op):
        if op == 'min':
            data -= 1

    monkeypatch.setattr(distributed, 'all_reduce', as_if_another_had_less)
    with pytest.raises(ConfigError, match='same files'):
        distributed.check_same_frozen(TinyModel())
