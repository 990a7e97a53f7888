# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
r"""First stage of the tiny twin, without Q-Former: the projection
reads the ViT's tokens, the CLS token and every patch.

    python tools/train.py \
        configs/minigpt4/ablations/minigpt-4_tiny_stage1_no-qformer.py

The paper reports 56.9 / 33.4 on AOK-VQA / GQA without Q-Former, 58.2 / 32.2
with it.

Hardware: 2 CPU cores, under 2 GB of memory, minutes.
"""

_base_ = '../minigpt-4_tiny_stage1.py'

model = dict(
    neck=None,
    projector=dict(in_channels=160))
