# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Two real processes, on CPUs, as torchrun starts them."""

import json
import os
import shutil
import time
from types import SimpleNamespace

import pytest
import torch
from helpers.eval_run import Counting
from helpers.eval_run import build as build_test
from helpers.processes import needs_forks, results, together
from helpers.tiny_run import Numbers, TinyModel, build
from helpers.two_processes import work
from mmengine.dist import get_rank, get_world_size

from mmpretrain_minigpt4.engine.checkpointing.snapshot import newest_whole
from mmpretrain_minigpt4.engine.distributed import launch as distributed
from mmpretrain_minigpt4.engine.runners import train_loop
from mmpretrain_minigpt4.errors import ConfigError, TrainingError


@pytest.fixture(scope='module')
def two(tmp_path_factory):
    """The folder, the two reports, and how the processes ended."""
    folder = tmp_path_factory.mktemp('two')
    ended = together(lambda rank: work(folder, rank), folder)
    paths = [folder / f'rank{rank}.json' for rank in (0, 1)]
    assert all(x.exists() for x in paths), [x.said[-3000:] for x in ended]
    return folder, [json.loads(x.read_text()) for x in paths], ended


@needs_forks
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


@needs_forks
def test_a_signal_to_one_process_saves_and_ends_both(two):
    folder, reports, _ = two
    for report in reports:
        assert report['code'] == 143
        assert report['cut'] == report['whole']
    # Each saw its own half of the data.
    assert reports[0]['whole'] != reports[1]['whole']
    assert len(newest_whole(folder / 'cut')[0].state['ranks']) == 2


@needs_forks
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


@needs_forks
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


@needs_forks
def test_a_process_that_dies_ends_the_others_with_one_line(two):
    _, _, (first, second) = two
    assert second.code == 7
    assert first.code == 4
    assert first.said.splitlines()[-1].startswith(
        'process 0: error: Process 0 lost another process of the run')
    assert 'Traceback' not in first.said


def test_a_wait_in_vain_ends_with_one_line(monkeypatch):
    monkeypatch.setattr(train_loop, 'get_world_size', lambda: 2)
    with pytest.raises(TrainingError, match='waited for another process'):
        with train_loop.clear_errors(SimpleNamespace(iter=3)):
            raise RuntimeError('unbound_buffer.cc:78] Timed out waiting '
                               '1000ms for recv operation to complete')


@needs_forks
@pytest.mark.slow
def test_a_process_that_hangs_ends_the_others_when_their_time_is_up(
        tmp_path):

    def work(rank):
        build(tmp_path / 'run', launcher='pytorch',
              actions={3: lambda: rank and time.sleep(20)},
              env_cfg=dict(dist_cfg=dict(backend='gloo', timeout=3))).train()

    first, second = together(work, tmp_path)
    assert first.code == second.code == 4
    assert 'waited for another process' in first.said.splitlines()[-1]
    assert 'lost another process' in second.said.splitlines()[-1]


@needs_forks
def test_two_processes_go_on_where_two_were_killed(two, tmp_path):
    folder, _, _ = two

    class Killed(Counting):
        """Ends without a word at its third batch."""

        def forward(self, *args, **kwargs):
            if len(self.asked) >= 4:
                os.kill(os.getpid(), 9)
            return super().forward(*args, **kwargs)

    def ask(rank, model=None):
        runner = build_test(tmp_path / 'cut', size=11, model=model,
                            launcher='pytorch', batch_size=2)
        return runner.test(), runner.model.module.asked

    killed = together(lambda rank: ask(rank, Killed()), tmp_path)
    assert [x.code for x in killed] == [-9, -9]
    (first, asked), (second, others) = results(together(ask, tmp_path))
    # Each had answered four of its own.
    assert sorted(asked + others) == [8, 9, 10]
    assert first == second
    lines = (tmp_path / 'cut' / 'answers.jsonl').read_text().splitlines()
    assert lines[1:] == (folder / 'asked' / 'answers.jsonl').read_text(
        ).splitlines()[1:]


@needs_forks
def test_processes_started_by_srun_find_each_other(tmp_path, monkeypatch):
    # The list of machines is spelt out by SLURM's own command.
    (tmp_path / 'scontrol').write_text(
        '#!/bin/sh\n[ "$*" = "show hostnames node[1-2]" ] && '
        'echo 127.0.0.1 && echo elsewhere\n')
    (tmp_path / 'scontrol').chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path}{os.pathsep}{os.environ["PATH"]}')

    def work(rank):
        for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR'):
            del os.environ[name]
        os.environ.update(SLURM_PROCID=str(rank), SLURM_NTASKS='2',
                          SLURM_LOCALID='0', SLURM_NODELIST='node[1-2]')
        build(tmp_path / 'run', steps=2, launcher='slurm').train()
        return get_rank(), get_world_size(), os.environ['MASTER_ADDR']

    assert results(together(work, tmp_path)) == [
        (rank, 2, '127.0.0.1') for rank in (0, 1)]


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
