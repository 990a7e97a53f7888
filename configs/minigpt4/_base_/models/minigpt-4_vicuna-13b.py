# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""MiniGPT-4 with Vicuna-13B v0: 14,110,861,184 parameters.

OpenMMLab publishes no projection for 13B: the authors' checkpoint
("pretrained_minigpt4.pth") goes where `checkpoints` says, or under that
file name into the folder MINIGPT4_WEIGHTS.
"""

_base_ = './minigpt-4_vicuna-7b.py'

model = dict(
    projector=dict(out_channels=5120),
    head=dict(llm='{{$VICUNA_DIR:checkpoints/vicuna-13b-v0}}'),
    checkpoints=[
        'checkpoints/minigpt-4_vicuna-13b_projection.pth',
        'https://download.openmmlab.com/mmpretrain/v1.0/minigpt4/minigpt-4_'
        '{eva-g-p14_20230615-e908c021,qformer_20230615-1dfa889c}.pth'
    ])
