# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Both models at the smallest size, and a record of each kind."""

import pytest
import torch
from benchmark.baseline import build_ours, build_peer
from benchmark.bench import Bench, Settings
from benchmark.dims import DIMS

CPU = torch.device('cpu')


@pytest.fixture(scope='session')
def dims():
    return DIMS['tiny']


@pytest.fixture(scope='session')
def pair(dims):
    """Our model and the peer; not to be changed."""
    ours = build_ours(dims, 'float32', CPU)
    return ours, build_peer(ours, dims, 'float32', CPU)


@pytest.fixture
def bench(dims):
    return Bench(Settings(dims, CPU, quick=True, command='by hand'))


@pytest.fixture
def line():
    """A JSON line as a run on a GPU would write it."""
    return dict(
        suite='gpu',
        row='decode, batch 1',
        unit='tokens/s',
        better='higher',
        value=150.0,
        spread=0.012,
        rounds=5,
        peers=dict(
            P1=dict(value=50.0, spread=0.02, ratio=3.0, ratio_spread=0.01)),
        limit=dict(value=200.0, by='memory', share=0.75),
        goal=dict(P1=2.5, value=180.0, met=False),
        curve=None,
        settings=dict(dtype='bfloat16'),
        note=None,
        dims='7b',
        device='cuda',
        threads=1,
        clock='CUDA events',
        quick=False,
        ceilings=dict(bfloat16=dict(flops=798e12, bandwidth=3.0e12)),
        equality=dict(visual=0.0, logits=0.004, loss=0.0),
        machine=dict(cpu='a CPU', cores=2, flags=['avx2'], gpu='a GPU'),
        versions=dict(python='3.11', torch='2.13'),
        date='2026-01-02T03:04:05+00:00',
        command='tools/benchmark.py --suite gpu')
