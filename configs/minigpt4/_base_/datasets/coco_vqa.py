# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""VQAv2, validation: 214,354 questions on 40,504 images.

data/coco/
  annotations/v2_OpenEnded_mscoco_val2014_questions.json
  annotations/v2_mscoco_val2014_annotations.json
  val2014/
"""

test_pipeline = [
    dict(type='mmpretrain_minigpt4.LoadImage'),
    dict(
        type='Resize',
        scale=(224, 224),
        interpolation='bicubic',
        backend='pillow'),
    dict(
        type='PackInputs',
        algorithm_keys=['question', 'gt_answer', 'gt_answer_weight'],
        meta_keys=[
            'question_id', 'image_id', 'img_path', 'ori_shape', 'img_shape'
        ]),
]

test_dataloader = dict(
    batch_size=8,
    num_workers=4,
    dataset=dict(
        type='mmpretrain.COCOVQA',
        data_root='data/coco',
        data_prefix='val2014',
        question_file='annotations/v2_OpenEnded_mscoco_val2014_questions.json',
        ann_file='annotations/v2_mscoco_val2014_annotations.json',
        pipeline=test_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    persistent_workers=True)

test_evaluator = dict(type='mmpretrain.VQAAcc')

test_cfg = dict()
