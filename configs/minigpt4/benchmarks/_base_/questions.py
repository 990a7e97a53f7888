# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""What all benchmarks of questions share.

MINIGPT4_CONFIG names the model's config, from this folder or absolute; by
default the 7B model's.
"""

_base_ = '{{$MINIGPT4_CONFIG:../../minigpt-4_vicuna-7b_vqa.py}}'

# Greedy, whatever the model's own config says: decoding alone moves POPE by
# 16 points.
model = dict(
    head=dict(
        task='vqa',
        generation=dict(
            do_sample=False, num_beams=1, repetition_penalty=1.0)))

_load = [
    dict(type='mmpretrain_minigpt4.LoadImage'),
    dict(
        type='mmpretrain.Resize',
        scale={{_base_.model.backbone.img_size}},
        interpolation='bicubic',
        backend='pillow'),
]
_keys = [
    'prompt', 'question', 'gt_answer', 'choices', 'rotation', 'category',
    'l2_category', 'subject', 'grade', 'relation', 'task', 'question_type',
    'answer_type', 'capability'
]
_meta = ['question_id', 'image_id', 'img_path', 'ori_shape', 'img_shape']
pipeline = [
    *_load,
    dict(
        type='mmpretrain.PackInputs', algorithm_keys=_keys, meta_keys=_meta)
]
# With candidates, a head that can score them does.
scoring_pipeline = [
    *_load,
    dict(
        type='mmpretrain.PackInputs',
        algorithm_keys=[*_keys, 'candidates'],
        meta_keys=_meta)
]
