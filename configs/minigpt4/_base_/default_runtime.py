# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""What every job shares: the scope, the hooks, the log, the seed."""

# Loads the package, and with it what lets the toolbox run on today's
# PyTorch and transformers, before anything is built.
custom_imports = dict(
    imports=['mmpretrain_minigpt4'], allow_failed_imports=False)

default_scope = 'mmpretrain'

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    # Switched on by --show-dir and --show of the test scripts.
    visualization=dict(
        type='mmpretrain_minigpt4.TextVisualizationHook', enable=False))

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'))

vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='UniversalVisualizer', vis_backends=vis_backends)

log_level = 'INFO'
load_from = None
resume = False
randomness = dict(seed=42, deterministic=False)
