# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""COCO captions, Karpathy's validation split of 5,000 images.

data/coco/
  annotations/coco_karpathy_val.json     (image names; from LAVIS)
  annotations/coco_karpathy_val_gt.json  (five captions an image; from LAVIS)
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
        meta_keys=['image_id', 'img_path', 'ori_shape', 'img_shape']),
]

test_dataloader = dict(
    batch_size=8,
    num_workers=4,
    dataset=dict(
        type='mmpretrain.COCOCaption',
        data_root='data/coco',
        ann_file='annotations/coco_karpathy_val.json',
        pipeline=test_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    persistent_workers=True)

# The toolbox's own metric fetches a Java program; these scores need none.
test_evaluator = dict(
    type='mmpretrain_minigpt4.CaptionScores',
    ann_file='data/coco/annotations/coco_karpathy_val_gt.json')

test_cfg = dict()
