# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
r"""Second stage of the tiny twin, with three layers in place of
one: linear, GELU, linear, GELU, linear.

    python tools/train.py \
        configs/minigpt4/ablations/minigpt-4_tiny_stage2_three-layers.py

The paper reports 49.7 / 31.0 on AOK-VQA / GQA with three layers, 58.2 /
32.2 with one.

It goes on from its own first stage in work_dirs/.

Hardware: 2 CPU cores, under 2 GB of memory, minutes.
"""

_base_ = '../minigpt-4_tiny_stage2.py'

model = dict(
    projector=dict(num_layers=3),
    checkpoints=[
        'asset://tiny/vision.safetensors',
        'work_dirs/minigpt-4_tiny_stage1_three-layers/trained.safetensors',
    ])
