# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""A language model spread over two real processes, on CPUs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from mmpretrain_minigpt4.engine import sharding
from mmpretrain_minigpt4.errors import ConfigError

HERE = Path(__file__).parent


@pytest.fixture(scope='module')
def two(tmp_path_factory):
    """The folder of a run, and the two reports."""
    folder = tmp_path_factory.mktemp('sharded')
    env = dict(os.environ, PYTHONPATH=str(HERE.parents[1]),
               OMP_NUM_THREADS='1', CUDA_VISIBLE_DEVICES='')
    done = subprocess.run(
        [
            sys.executable, '-m', 'torch.distributed.run', '--standalone',
            '--nproc-per-node=2', str(HERE / 'sharded_processes.py'),
            str(folder)
        ],
        env=env, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, [
        json.loads((folder / f'rank{rank}.json').read_text())
        for rank in (0, 1)
    ]


def test_each_process_holds_half_of_the_language_model(two):
    _, reports = two
    for report in reports:
        # 2 layers of 9 weights, the embeddings and the output head.
        assert len(report['shares']) == 20
    for name, (own, whole) in reports[0]['shares'].items():
        assert own + reports[1]['shares'][name][0] == whole
        assert own <= whole // 2


def test_the_projection_learns_as_beside_a_whole_one(two):
    _, reports = two
    for report in reports:
        assert report['error'] < 1e-6 < 1e-3 < report['moved']


def test_checkpoints_hold_only_what_was_trained(two):
    from safetensors import safe_open
    folder, _ = two
    names = set()
    for path in (folder / 'run').rglob('trained.safetensors'):
        with safe_open(path, 'pt') as file:
            names |= set(file.keys())
    assert any('projector' in name for name in names)
    assert not [name for name in names if 'llm' in name]


def test_answers_of_a_sharded_model_are_refused_not_waited_for(two):
    for report in two[1]:
        assert 'whole one' in report['answers']


def test_what_cannot_be_sharded_says_why(monkeypatch):
    monkeypatch.setattr(sharding, 'get_world_size', lambda: 1)
    model = nn.Module()
    with pytest.raises(ConfigError, match='no language model'):
        sharding.shard_language_model(model)
    model.head = nn.Module()
    model.head.llm = nn.Linear(2, 2)
    with pytest.raises(ConfigError, match='frozen'):
        sharding.shard_language_model(model)
    model.head.llm.requires_grad_(False)
    with pytest.raises(ConfigError, match='torchrun'):
        sharding.shard_language_model(model)
    model.head.llm.weight = nn.Parameter(
        torch.zeros(2, 2, dtype=torch.uint8), requires_grad=False)
    with pytest.raises(ConfigError, match='either quantised or sharded'):
        sharding.shard_language_model(model)
