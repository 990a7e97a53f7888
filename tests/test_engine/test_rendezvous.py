# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Processes that are started again over the store of torchrun."""

import os
import time
from datetime import timedelta

import pytest
import torch
from helpers.processes import needs_forks, results, together
from torch import distributed
from torch.distributed import HashStore, PrefixStore, TCPStore

from mmpretrain_minigpt4.engine import Runner
from mmpretrain_minigpt4.engine.distributed import rendezvous
from mmpretrain_minigpt4.engine.distributed.launch import start_gloo
from mmpretrain_minigpt4.errors import TrainingError


@needs_forks
@pytest.mark.parametrize('late', [0, 1])
def test_a_second_start_does_not_wait_for_the_first(tmp_path, late):
    agent = TCPStore('127.0.0.1', 0, is_master=True, use_libuv=True,
                     wait_for_workers=False)

    def work(rank, pause=False):
        os.environ['TORCHELASTIC_USE_AGENT_STORE'] = 'True'
        if pause and rank == late:
            time.sleep(0.3)
        start_gloo('pytorch', dict(timeout=20))
        number = torch.tensor(rank + 1)
        distributed.all_reduce(number)
        return number.item()

    first = results(together(work, tmp_path / 'a', agent.port))
    again = results(together(lambda rank: work(rank, True), tmp_path / 'b',
                             agent.port))
    assert first == again == [3, 3]


def at_the_agent(monkeypatch, store, rank):
    monkeypatch.setenv('TORCHELASTIC_USE_AGENT_STORE', 'True')
    monkeypatch.setattr(rendezvous.distributed, 'rendezvous',
                        lambda *args, **kwargs: iter([(store, rank, 2)]))


@pytest.mark.parametrize('rank', [0, 1])
def test_who_meets_nobody_says_so(monkeypatch, rank):
    at_the_agent(monkeypatch, HashStore(), rank)
    with pytest.raises(TrainingError, match=f'Process {rank} waited'):
        rendezvous.rendezvous(timedelta(seconds=0.2))


def test_processes_on_gpus_meet_the_same_way(monkeypatch):
    monkeypatch.setenv('RANK', '1')
    monkeypatch.setenv('WORLD_SIZE', '2')
    monkeypatch.setenv('LOCAL_RANK', '1')
    store = HashStore()
    at_the_agent(monkeypatch, store, 1)
    monkeypatch.setattr(rendezvous, '_join_start', lambda store, rank: 'name')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    seen = {}
    monkeypatch.setattr(Runner.__mro__[1], 'setup_env',
                        lambda self, cfg: seen.update(cfg))
    given = dict(dist_cfg=dict(backend='nccl', timeout=60))
    runner = Runner.__new__(Runner)
    runner._launcher, runner._distributed = 'pytorch', True
    runner.setup_env(given)
    assert given == dict(dist_cfg=dict(backend='nccl', timeout=60))
    settings = seen['dist_cfg']
    assert isinstance(settings['store'], PrefixStore)
    assert (settings['rank'], settings['world_size']) == (1, 2)
    assert (settings['backend'], settings['timeout']) == ('nccl', 60)
