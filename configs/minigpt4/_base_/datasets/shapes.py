# Drawn scenes; they are made as they are asked for, so there is no data to
# fetch. Scenes for tests have seeds from 1,000,000,000 on.
_pipeline = [
    dict(type='mmpretrain_minigpt4.LoadImage'),
    dict(
        type='mmpretrain.Resize',
        scale=(64, 64),
        interpolation='bicubic',
        backend='pillow'),
    dict(
        type='mmpretrain.PackInputs',
        algorithm_keys=[
            'prompt', 'question', 'gt_caption', 'gt_answer', 'image_id',
            'question_id', 'objects', 'background'
        ]),
]

train_pipeline = _pipeline
test_pipeline = _pipeline

test_dataloader = dict(
    batch_size=50,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='mmpretrain_minigpt4.ShapesDataset',
        first_seed=1_000_000_000,
        num_scenes=500,
        content='description',
        test_mode=True,
        pipeline=test_pipeline))
test_evaluator = dict(type='mmpretrain_minigpt4.ShapesDescription')
test_cfg = dict()
