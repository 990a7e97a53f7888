# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""What all benchmarks of descriptions share.

MINIGPT4_CONFIG names the model's config, from this folder or absolute; by
default the 7B model's.
"""

_base_ = '{{$MINIGPT4_CONFIG:../../minigpt-4_vicuna-7b_caption.py}}'

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
        algorithm_keys=['gt_caption', 'domain'],
        meta_keys=['image_id', 'img_path', 'ori_shape', 'img_shape']),
]
