# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
r"""First stage of MiniGPT-4, Vicuna-7B v0, with three layers in place of
one: linear, GELU, linear, GELU, linear.

    VICUNA_DIR=DIR tools/dist_train.sh \
    configs/minigpt4/ablations/minigpt-4_vicuna-7b_stage1_three-layers.py 4

The paper reports 49.7 / 31.0 on AOK-VQA / GQA with three layers, 58.2 /
32.2 with one.

Hardware: as the stage that it changes; not tried.
Expected: not reproduced here.
"""

_base_ = '../minigpt-4_vicuna-7b_stage1.py'

model = dict(projector=dict(num_layers=3))
