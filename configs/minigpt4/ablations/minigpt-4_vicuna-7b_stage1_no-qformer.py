# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
r"""First stage of MiniGPT-4, Vicuna-7B v0, without Q-Former: the projection
reads the ViT's tokens, the CLS token and every patch.

    VICUNA_DIR=DIR tools/dist_train.sh \
    configs/minigpt4/ablations/minigpt-4_vicuna-7b_stage1_no-qformer.py 4

The paper reports 56.9 / 33.4 on AOK-VQA / GQA without Q-Former, 58.2 / 32.2
with it.

Hardware: as the stage that it changes; not tried.
Expected: not reproduced here.
"""

_base_ = '../minigpt-4_vicuna-7b_stage1.py'

model = dict(
    neck=None,
    projector=dict(in_channels=1408))
