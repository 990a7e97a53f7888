# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
r"""Second stage with Llama-2-7B-chat and no Q-Former: the projection goes
on with careful descriptions in the conversation template.

    LLAMA2_DIR=DIR python tools/train.py \
        configs/minigpt4/minigpt-4_llama2-7b_stage2.py

It goes on from the first stage in work_dirs/; another start is an option:
    --cfg-options model.checkpoints.1=FILE
Hardware: 1 GPU with 80 GB (A100), 12 pairs. Weights in bfloat16 take
    15.5 GB of it.
Time and cost: no figure was published.
Expected: not reproduced here.
"""

_base_ = [
    './_base_/models/minigpt-4_llama2-7b.py',
    './_base_/datasets/cc_sbu_align.py',
    './_base_/schedules/stage2.py',
]

model = dict(checkpoints=[
    'https://download.openmmlab.com/mmpretrain/v1.0/minigpt4/minigpt-4_'
    '{eva-g-p14_20230615-e908c021,qformer_20230615-1dfa889c}.pth',
    'work_dirs/minigpt-4_llama2-7b_stage1/trained.safetensors',
])
