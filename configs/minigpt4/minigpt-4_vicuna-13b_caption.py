# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
r"""Describe images with MiniGPT-4, Vicuna-13B; tested on COCO captions.

    VICUNA_DIR=DIR python tools/test.py \
        configs/minigpt4/minigpt-4_vicuna-13b_caption.py

Hardware: one GPU with 40 GB in bfloat16 (weights alone: 28.2 GB).
Expected: not reproduced here.
"""

_base_ = [
    './_base_/models/minigpt-4_vicuna-13b.py',
    './_base_/datasets/coco_caption.py',
    './_base_/default_runtime.py',
]

model = dict(
    head=dict(task='caption', prompt='Describe this image in detail.'))
