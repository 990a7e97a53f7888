# The tiny twin: MiniGPT-4's graph with the same classes, about 4 million
# parameters, trained on drawn scenes of coloured shapes.
# Its weights ship in the package; nothing is fetched.
custom_imports = dict(
    imports=['mmpretrain_minigpt4'], allow_failed_imports=False)

model = dict(
    type='mmpretrain_minigpt4.MiniGPT4',
    data_preprocessor=dict(
        type='mmpretrain.MultiModalDataPreprocessor',
        mean=[122.770938, 116.7460125, 104.09373615],
        std=[68.5005327, 66.6321579, 70.32316305],
        to_rgb=False),
    backbone=dict(
        type='mmpretrain_minigpt4.EVAViT',
        img_size=64,
        patch_size=8,
        embed_dims=160,
        num_layers=5,
        num_heads=5,
        feedforward_channels=480),
    neck=dict(
        type='mmpretrain_minigpt4.QFormer',
        num_queries=16,
        embed_dims=128,
        num_layers=4,
        num_heads=4,
        feedforward_channels=384,
        encoder_dims=160),
    projector=dict(
        type='mmpretrain_minigpt4.LinearProjector',
        in_channels=128,
        out_channels=160),
    head=dict(
        type='mmpretrain_minigpt4.VicunaHead',
        llm='asset://tiny/llm',
        template='vicuna_v0',
        task='caption',
        prompt='Describe this image in detail.',
        generation=dict(max_new_tokens=120)))
