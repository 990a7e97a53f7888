# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""1,000 steps: 200 from 1e-6 towards 3e-5, then the cosine to 1e-5."""

_base_ = './stage1.py'

train_cfg = dict(max_iters=1000)
optim_wrapper = dict(optimizer=dict(lr=3e-5))
param_scheduler = dict(
    warmup_steps=200, total_steps=1000, start=1e-6, final=1e-5)
default_hooks = dict(checkpoint=dict(interval=200))
custom_hooks = [
    dict(type='mmpretrain_minigpt4.BrokenSamplesHook'),
    dict(type='mmpretrain_minigpt4.SaveTrainedHook', interval=200),
]
auto_scale_lr = dict(base_batch_size=12)
