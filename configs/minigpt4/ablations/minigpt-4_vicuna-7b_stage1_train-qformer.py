# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
r"""First stage of MiniGPT-4, Vicuna-7B v0: the Q-Former is trained too.

    VICUNA_DIR=DIR tools/dist_train.sh \
    configs/minigpt4/ablations/minigpt-4_vicuna-7b_stage1_train-qformer.py 4

The paper reports 52.1 / 28.0 on AOK-VQA / GQA with a trained Q-Former, 58.2 /
32.2 with a frozen one.

Hardware: as the stage that it changes; not tried.
Expected: not reproduced here.
"""

_base_ = '../minigpt-4_vicuna-7b_stage1.py'

model = dict(freeze=('backbone', 'head'))
