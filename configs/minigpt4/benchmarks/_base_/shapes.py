# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Drawn scenes to describe, and questions about them.

MINIGPT4_CONFIG names the model's config, from this folder or absolute; by
default the tiny twin's.
"""

_base_ = '{{$MINIGPT4_CONFIG:../../minigpt-4_tiny_caption.py}}'

# Greedy, whatever the model's own config says.
model = dict(
    head=dict(
        task='caption',
        generation=dict(
            do_sample=False, num_beams=1, repetition_penalty=1.0)))

pipeline = [
    dict(type='mmpretrain_minigpt4.LoadImage'),
    dict(
        type='mmpretrain.Resize',
        scale={{_base_.model.backbone.img_size}},
        interpolation='bicubic',
        backend='pillow'),
    dict(
        type='mmpretrain.PackInputs',
        algorithm_keys=[
            'question', 'gt_caption', 'gt_answer', 'objects', 'background'
        ],
        meta_keys=['image_id', 'question_id']),
]
