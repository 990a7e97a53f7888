# First stage of the tiny twin: the projection alone learns from scenes with
# short captions, without any instruction.
#
#   python tools/train.py configs/minigpt4/minigpt-4_tiny_stage1.py
#
# Hardware: 2 CPU cores, under 2 GB of memory, about 4 minutes.
_base_ = [
    'mmpretrain::_base_/default_runtime.py',
    '_base_/models/minigpt-4_tiny.py',
    '_base_/datasets/shapes.py',
]

model = dict(
    head=dict(template='bare', max_txt_len=64),
    checkpoints=['asset://tiny/vision.safetensors'],
    # The projection is what this stage is about.
    from_scratch=['projector'])

train_dataloader = dict(
    batch_size=64,
    num_workers=0,
    # The toolbox's own script would ask for them, which needs workers.
    persistent_workers=False,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='mmpretrain_minigpt4.ShapesDataset',
        first_seed=300_000_000,
        num_scenes=51_200,
        content='caption',
        pipeline={{_base_.train_pipeline}}))
runner_type = 'mmpretrain_minigpt4.Runner'
train_cfg = dict(type='mmpretrain_minigpt4.TrainLoop', max_iters=800)
optim_wrapper = dict(
    type='mmpretrain_minigpt4.OptimWrapper',
    optimizer=dict(
        type='AdamW', lr=3e-3, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(bias_decay_mult=0.))
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=0.01,
        by_epoch=False,
        begin=0,
        end=100),
    dict(
        type='CosineAnnealingLR',
        T_max=700,
        eta_min=3e-4,
        by_epoch=False,
        begin=100,
        end=800),
]
randomness = dict(seed=42)

default_hooks = dict(
    logger=dict(interval=50),
    checkpoint=dict(
        _delete_=True,
        type='mmpretrain_minigpt4.TrainingCheckpointHook',
        interval=200))
custom_hooks = [dict(type='mmpretrain_minigpt4.SaveTrainedHook')]
