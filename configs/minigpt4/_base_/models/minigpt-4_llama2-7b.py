# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""MiniGPT-4 with Llama-2-7B-chat and no Q-Former: 7,747,385,728 parameters.

Four consecutive patches become one visual token, 64 for an image.
LLAMA2_DIR names the folder of the language model. OpenMMLab publishes no
projection for it: the authors' checkpoint ("pretrained_minigpt4_llama2_7b")
goes where `checkpoints` says, or under that file name into the folder
MINIGPT4_WEIGHTS. The Q-Former's file is there for `ln_vision` alone.
"""

_base_ = './minigpt-4_vicuna-7b.py'

model = dict(
    neck=dict(
        _delete_=True, type='mmpretrain_minigpt4.PatchMerger', num_patches=4),
    projector=dict(in_channels=5632, out_channels=4096),
    head=dict(
        llm='{{$LLAMA2_DIR:checkpoints/Llama-2-7b-chat-hf}}',
        template='llama2'),
    checkpoints=[
        'checkpoints/minigpt-4_llama2-7b_projection.pth',
        'https://download.openmmlab.com/mmpretrain/v1.0/minigpt4/minigpt-4_'
        '{eva-g-p14_20230615-e908c021,qformer_20230615-1dfa889c}.pth'
    ])
