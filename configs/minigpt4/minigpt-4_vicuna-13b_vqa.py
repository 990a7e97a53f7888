# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
r"""Answer questions with MiniGPT-4, Vicuna-13B; tested on VQAv2.

    VICUNA_DIR=DIR python tools/test.py \
        configs/minigpt4/minigpt-4_vicuna-13b_vqa.py

Hardware: one GPU with 40 GB in bfloat16 (weights alone: 28.2 GB).
Expected: not reproduced here.
"""

_base_ = [
    './_base_/models/minigpt-4_vicuna-13b.py',
    './_base_/datasets/coco_vqa.py',
    './_base_/default_runtime.py',
]

model = dict(head=dict(task='vqa', generation=dict(max_new_tokens=100)))
