# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""MiniGPT-4 with Vicuna-7B v0: 7,832,625,024 parameters.

VICUNA_DIR names the folder of the language model (config.json, weights,
tokenizer). The files in `checkpoints` are OpenMMLab's; they are fetched when
the model is built by a runner, or taken from the folder MINIGPT4_WEIGHTS.
"""

model = dict(
    type='mmpretrain_minigpt4.MiniGPT4',
    data_preprocessor=dict(
        type='mmpretrain.MultiModalDataPreprocessor',
        # Those of CLIP, on pixels of 0 to 255.
        mean=[122.770938, 116.7460125, 104.09373615],
        std=[68.5005327, 66.6321579, 70.32316305],
        # The pipeline gives RGB already.
        to_rgb=False),
    # EVA-ViT-g/14 without its last block.
    backbone=dict(
        type='mmpretrain_minigpt4.EVAViT',
        img_size=224,
        patch_size=14,
        embed_dims=1408,
        num_layers=39,
        num_heads=16,
        feedforward_channels=6144),
    neck=dict(
        type='mmpretrain_minigpt4.QFormer',
        num_queries=32,
        embed_dims=768,
        num_layers=12,
        num_heads=12,
        feedforward_channels=3072,
        encoder_dims=1408,
        cross_attention_frequency=2),
    projector=dict(
        type='mmpretrain_minigpt4.LinearProjector',
        in_channels=768,
        out_channels=4096),
    head=dict(
        type='mmpretrain_minigpt4.VicunaHead',
        llm='{{$VICUNA_DIR:checkpoints/vicuna-7b-v0}}',
        template='vicuna_v0',
        max_txt_len=160,
        generation=dict(max_new_tokens=300)),
    freeze=('backbone', 'neck', 'head'),
    checkpoints=[
        'https://download.openmmlab.com/mmpretrain/v1.0/minigpt4/minigpt-4_'
        '{eva-g-p14_20230615-e908c021,qformer_20230615-1dfa889c,'
        'linear-projection_20230615-714b5f52}.pth'
    ])
