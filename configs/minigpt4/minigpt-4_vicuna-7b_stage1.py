# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
r"""First stage of MiniGPT-4, Vicuna-7B v0: the projection alone
learns from image-text pairs of the web, without any instruction.

    VICUNA_DIR=DIR tools/dist_train.sh \
        configs/minigpt4/minigpt-4_vicuna-7b_stage1.py 4

Hardware: 4 GPUs with 80 GB (A100), 64 pairs on each; on fewer, set
    train_dataloader.batch_size and optim_wrapper.accumulative_counts so
    that 256 pairs make a step. Weights in bfloat16 take 15.7 GB of each.
Time and cost: about 10 hours, 40 GPU hours, as the paper reports.
Expected: not reproduced here.
"""

_base_ = [
    './_base_/models/minigpt-4_vicuna-7b.py',
    './_base_/datasets/laion_cc_sbu.py',
    './_base_/schedules/stage1.py',
]

model = dict(
    head=dict(template='bare', max_txt_len=32),
    checkpoints=[
        'https://download.openmmlab.com/mmpretrain/v1.0/minigpt4/minigpt-4_'
        '{eva-g-p14_20230615-e908c021,qformer_20230615-1dfa889c}.pth'
    ],
    # The projection is what this stage is about.
    from_scratch=('projector', ))
