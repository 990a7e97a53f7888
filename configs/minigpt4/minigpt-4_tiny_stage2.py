# Second stage of the tiny twin: the projection goes on with careful
# descriptions in the conversation template. Unlike the paper's second
# stage, half of the scenes give a question and its answer instead.
#
#   python tools/train.py configs/minigpt4/minigpt-4_tiny_stage2.py
#
# It goes on from the first stage that ships in the package; for one of your
# own add, in one line, `--cfg-options model.checkpoints.1=` and the path of
# its trained.safetensors.
#
# Hardware: 2 CPU cores, under 2 GB of memory, about 4 minutes.
_base_ = ['minigpt-4_tiny_stage1.py']

model = dict(
    head=dict(template='vicuna_v0', max_txt_len=160),
    checkpoints=[
        'asset://tiny/vision.safetensors',
        'asset://tiny/projection_stage1.safetensors',
    ],
    from_scratch=[])

train_dataloader = dict(
    batch_size=32,
    dataset=dict(
        first_seed=400_000_000, num_scenes=38_400, content='conversation'))
train_cfg = dict(max_iters=1200)
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=0.01,
        by_epoch=False,
        begin=0,
        end=100),
    dict(
        type='CosineAnnealingLR',
        T_max=1100,
        eta_min=3e-4,
        by_epoch=False,
        begin=100,
        end=1200),
]
