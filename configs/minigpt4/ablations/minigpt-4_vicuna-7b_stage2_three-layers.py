# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
r"""Second stage of MiniGPT-4, Vicuna-7B v0, with three layers in place of
one: linear, GELU, linear, GELU, linear.

    VICUNA_DIR=DIR python tools/train.py \
    configs/minigpt4/ablations/minigpt-4_vicuna-7b_stage2_three-layers.py

The paper reports 49.7 / 31.0 on AOK-VQA / GQA with three layers, 58.2 /
32.2 with one.

It goes on from its own first stage in work_dirs/.

Hardware: as the stage that it changes; not tried.
Expected: not reproduced here.
"""

_base_ = '../minigpt-4_vicuna-7b_stage2.py'

model = dict(
    projector=dict(num_layers=3),
    checkpoints=[
        'https://download.openmmlab.com/mmpretrain/v1.0/minigpt4/minigpt-4_'
        '{eva-g-p14_20230615-e908c021,qformer_20230615-1dfa889c}.pth',
        'work_dirs/minigpt-4_vicuna-7b_stage1_three-layers/trained.safetensors',
    ])
