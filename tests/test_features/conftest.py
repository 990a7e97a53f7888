# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Runs of the tiny twin's second stage, a few small steps long."""

from pathlib import Path

import pytest
from mmengine.config import Config

HERE = Path(__file__).resolve().parent
CONFIGS = HERE.parents[1] / 'configs' / 'minigpt4'


@pytest.fixture(scope='session')
def small():
    """The tiny twin's second stage: 5 scenes, 2 steps of 2."""

    def make(**options):
        cfg = Config.fromfile(CONFIGS / 'minigpt-4_tiny_stage2.py')
        cfg.merge_from_dict({
            'train_dataloader.batch_size': 2,
            'train_dataloader.dataset.num_scenes': 5,
            'train_cfg.max_iters': 2,
            'log_level': 'ERROR',
            **options
        })
        return cfg

    return make


@pytest.fixture
def align(small):
    """The same, on image files as the second stage's."""

    def make(root, **options):
        cfg = small(**options)
        pipeline = cfg.train_dataloader.dataset.pipeline
        cfg.train_dataloader.dataset = dict(
            type='mmpretrain_minigpt4.CCSBUAlign',
            data_root=str(root),
            max_broken_share=0.5,
            pipeline=pipeline)
        return cfg

    return make
