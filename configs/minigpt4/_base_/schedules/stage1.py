# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""20,000 steps: 5,000 from 1e-6 towards 1e-4, then the cosine to 8e-5."""

_base_ = '../default_runtime.py'

runner_type = 'mmpretrain_minigpt4.Runner'
train_cfg = dict(type='mmpretrain_minigpt4.TrainLoop', max_iters=20_000)

optim_wrapper = dict(
    type='mmpretrain_minigpt4.OptimWrapper',
    # The original: float16 with a loss scale.
    dtype='bfloat16',
    optimizer=dict(
        type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(bias_decay_mult=0.))

param_scheduler = dict(
    type='mmpretrain_minigpt4.WarmupCosineLR',
    warmup_steps=5000,
    total_steps=20_000,
    start=1e-6,
    final=8e-5,
    by_epoch=False)

default_hooks = dict(
    checkpoint=dict(
        type='mmpretrain_minigpt4.TrainingCheckpointHook', interval=500))
custom_hooks = [
    dict(type='mmpretrain_minigpt4.BrokenSamplesHook'),
    dict(type='mmpretrain_minigpt4.SaveTrainedHook', interval=500),
]

auto_scale_lr = dict(base_batch_size=256, enable=False)
