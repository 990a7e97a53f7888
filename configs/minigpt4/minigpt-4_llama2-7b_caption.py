# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
r"""Describe images with MiniGPT-4, Llama-2-7B; tested on COCO captions.

    LLAMA2_DIR=DIR python tools/test.py \
        configs/minigpt4/minigpt-4_llama2-7b_caption.py

Hardware: one GPU with 24 GB in bfloat16 (weights alone: 15.5 GB).
Expected: not reproduced here.
"""

_base_ = [
    './_base_/models/minigpt-4_llama2-7b.py',
    './_base_/datasets/coco_caption.py',
    './_base_/default_runtime.py',
]

model = dict(
    head=dict(task='caption', prompt='Describe this image in detail.'))
