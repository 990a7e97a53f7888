# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
r"""Second stage of MiniGPT-4, Vicuna-7B v0: the projection goes
on with careful descriptions in the conversation template.

    VICUNA_DIR=DIR python tools/train.py \
        configs/minigpt4/minigpt-4_vicuna-7b_stage2.py

It goes on from the first stage in work_dirs/; another start is an option:
    --cfg-options model.checkpoints.1=FILE
Hardware: 1 GPU with 80 GB (A100), 12 pairs. Weights in bfloat16 take
    15.7 GB of it.
Time and cost: about 7 minutes, as the paper reports.
Expected: not reproduced here.
"""

_base_ = [
    './_base_/models/minigpt-4_vicuna-7b.py',
    './_base_/datasets/cc_sbu_align.py',
    './_base_/schedules/stage2.py',
]

model = dict(checkpoints=[
    'https://download.openmmlab.com/mmpretrain/v1.0/minigpt4/minigpt-4_'
    '{eva-g-p14_20230615-e908c021,qformer_20230615-1dfa889c}.pth',
    'work_dirs/minigpt-4_vicuna-7b_stage1/trained.safetensors',
])
