# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""A run of a few numbers, through the real Runner, in milliseconds a step.

What it trains depends on its data's order, on Python's, numpy's and torch's
random numbers, and on a warm-up: whatever a resume forgets, the losses show.
"""

import itertools  # noqa: I001 (the package comes before the toolbox)
import random

import numpy as np
import torch
from torch.utils.data import Dataset

from mmpretrain_minigpt4.engine import Runner
from mmengine.hooks import Hook
from mmengine.model import BaseModel

_number = itertools.count()


class Numbers(Dataset):
    """A hundred points, shifted by random numbers as they are read."""

    def __init__(self, size=100, noise=True):
        self.size = size
        self.noise = noise

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        x = torch.full((4, ), index / self.size) + torch.arange(4) / 4
        if self.noise:
            x = x + random.random() * 0.1 + np.random.rand() * 0.1
        return dict(inputs=x, data_samples=torch.tensor(float(index % 7)))


class TinyModel(BaseModel):
    """One trained and one frozen layer, and dropout."""

    def __init__(self, dropout=0.2):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.frozen = torch.nn.Linear(4, 8).requires_grad_(False)
            self.projector = torch.nn.Linear(8, 3)
        self.dropout = torch.nn.Dropout(dropout)
        self.mean = torch.nn.Buffer(torch.zeros(()))

    def forward(self, inputs, data_samples=None, mode='loss'):
        hidden = self.dropout(torch.tanh(self.frozen(inputs)))
        error = self.projector(hidden).sum(1) - data_samples
        return dict(loss=error.square().mean())


class Losses(Hook):
    """Collects the losses, and runs something at a step."""

    def __init__(self, actions=None):
        self.values = []
        self.actions = actions or {}

    def after_train_iter(self, runner, batch_idx, data_batch=None,
                         outputs=None):
        self.values.append(outputs['loss'].item())
        if batch_idx in self.actions:
            self.actions[batch_idx]()


def build(work_dir, *, steps=20, actions=None, model=None, dataset=None,
          loader=None, wrapper=None, hook=None, resume=False, load_from=None,
          **kwargs):
    """A runner; ``runner.losses`` is what it saw."""
    losses = Losses(actions)
    ours = 'mmpretrain_minigpt4.'
    optim_wrapper = dict(
        type=ours + 'OptimWrapper',
        optimizer=dict(
            type='AdamW', lr=0.05, betas=(0.9, 0.99), weight_decay=0.05),
        paramwise_cfg=dict(bias_decay_mult=0.))
    optim_wrapper.update(wrapper or {})
    train_dataloader = dict(
        batch_size=4,
        num_workers=0,
        sampler=dict(type='InfiniteSampler', shuffle=True),
        collate_fn=dict(type='default_collate'),
        dataset=Numbers() if dataset is None else dataset)
    train_dataloader.update(loader or {})
    settings = dict(
        model=TinyModel() if model is None else model,
        work_dir=str(work_dir),
        train_dataloader=train_dataloader,
        train_cfg=dict(type=ours + 'TrainLoop', max_iters=steps),
        optim_wrapper=optim_wrapper,
        param_scheduler=[
            dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=8),
            dict(type='CosineAnnealingLR', T_max=12, by_epoch=False,
                 begin=8, end=20),
        ],
        default_hooks=dict(
            logger=dict(type='LoggerHook', interval=5),
            checkpoint=dict(
                type=ours + 'TrainingCheckpointHook',
                **dict(dict(interval=5), **(hook or {})))),
        custom_hooks=[losses, dict(type=ours + 'TrainingStatsHook')],
        log_processor=dict(by_epoch=False),
        log_level='WARNING',
        resume=resume,
        load_from=load_from,
        randomness=dict(seed=3),
        experiment_name=f'tiny{next(_number)}')
    settings.update(kwargs)
    runner = Runner(**settings)
    runner.losses = losses
    return runner


def train(work_dir, **kwargs):
    """Train, and return the losses of all steps done in this process."""
    runner = build(work_dir, **kwargs)
    runner.train()
    return runner.losses.values
