# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Stage 1: image-text pairs of LAION-115M, CC3M, CC12M and SBU, in shards.

data/
  laion/laion_dataset/{00000..10488}.tar
  cc_sbu/cc_sbu_dataset/{00000..01255}.tar

docs/data.md tells how to make them with img2dataset.
"""

train_pipeline = [
    dict(type='mmpretrain_minigpt4.LoadImage'),
    dict(
        type='Resize',
        scale=(224, 224),
        interpolation='bicubic',
        backend='pillow'),
    # Lower case, without punctuation, at most 50 words.
    dict(type='mmpretrain_minigpt4.CleanCaption', max_words=50),
    dict(
        type='PackInputs',
        algorithm_keys=['gt_caption'],
        meta_keys=['image_id', 'img_path', 'ori_shape', 'img_shape']),
]

train_dataloader = dict(
    # On each of 4 GPUs: 256 in all.
    batch_size=64,
    num_workers=4,
    dataset=dict(
        type='mmpretrain_minigpt4.ImageTextShards',
        data_root='data',
        sources=[
            dict(
                shards='laion/laion_dataset/{00000..10488}.tar', weight=115),
            dict(
                shards='cc_sbu/cc_sbu_dataset/{00000..01255}.tar', weight=14),
        ],
        # The original takes each batch from one source: mix_run=64.
        mix_run=1,
        seed=42,
        pipeline=train_pipeline),
    # The stream shuffles and splits itself.
    sampler=None,
    collate_fn=dict(type='default_collate'),
    persistent_workers=True)
