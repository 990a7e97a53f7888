# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
r"""Second stage of the tiny twin: the Q-Former is trained too.

    python tools/train.py \
        configs/minigpt4/ablations/minigpt-4_tiny_stage2_train-qformer.py

The paper reports 52.1 / 28.0 on AOK-VQA / GQA with a trained Q-Former, 58.2 /
32.2 with a frozen one.

It goes on from its own first stage in work_dirs/.

Hardware: 2 CPU cores, under 2 GB of memory, minutes.
"""

_base_ = '../minigpt-4_tiny_stage2.py'

model = dict(
    freeze=('backbone', 'head'),
    checkpoints=[
        'asset://tiny/vision.safetensors',
        'work_dirs/minigpt-4_tiny_stage1_train-qformer/trained.safetensors',
    ])
