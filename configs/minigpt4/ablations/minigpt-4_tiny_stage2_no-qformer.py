# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
r"""Second stage of the tiny twin, without Q-Former: the projection
reads the ViT's tokens, the CLS token and every patch.

    python tools/train.py \
        configs/minigpt4/ablations/minigpt-4_tiny_stage2_no-qformer.py

The paper reports 56.9 / 33.4 on AOK-VQA / GQA without Q-Former, 58.2 / 32.2
with it.

It goes on from its own first stage in work_dirs/.

Hardware: 2 CPU cores, under 2 GB of memory, minutes.
"""

_base_ = '../minigpt-4_tiny_stage2.py'

model = dict(
    neck=None,
    projector=dict(in_channels=160),
    checkpoints=[
        'asset://tiny/vision.safetensors',
        'work_dirs/minigpt-4_tiny_stage1_no-qformer/trained.safetensors',
    ])
