# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Stage 2: about 3,500 images with long, careful descriptions.

data/cc_sbu_align/
  filter_cap.json
  image/<image_id>.jpg

docs/data.md tells where to get them.
"""

train_pipeline = [
    dict(type='mmpretrain_minigpt4.LoadImage'),
    dict(
        type='Resize',
        scale=(224, 224),
        interpolation='bicubic',
        backend='pillow'),
    dict(
        type='PackInputs',
        algorithm_keys=['prompt', 'gt_caption'],
        meta_keys=['image_id', 'img_path', 'ori_shape', 'img_shape']),
]

train_dataloader = dict(
    batch_size=12,
    num_workers=4,
    # One of the four instructions for each sample. The original draws one
    # for each batch: collate_fn=dict(
    # type='mmpretrain_minigpt4.one_instruction').
    dataset=dict(
        type='mmpretrain_minigpt4.CCSBUAlign',
        data_root='data/cc_sbu_align',
        seed=42,
        pipeline=train_pipeline),
    sampler=dict(type='InfiniteSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    persistent_workers=True)
