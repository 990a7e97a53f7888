# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
r"""Drawn scenes: descriptions, and questions by kind.

    python tools/test.py configs/minigpt4/benchmarks/minigpt-4_tiny_shapes.py

Files: none; the scenes are drawn from seeds that no training uses.
Prompt: "Describe this image in detail."; the question as it is.
Decoding: greedy, at most 120 tokens, fixed instruction.
Extraction: what a description claims is read by rule, sentence by sentence;
  an answer is right if it is the expected one but for case, blanks and the
  full stop.
Samples: 1,000 scenes: a description and two questions of each.
Published: none; the world is this package's own.
Hardware: 2 CPU cores, under 1 GB of memory, under 3 minutes.
Expected: docs/evaluate.md has the numbers measured.
"""

_base_ = './_base_/shapes.py'

model = dict(
    head=dict(
        prompt='Describe this image in detail.',
        generation=dict(max_new_tokens=120)))

test_dataloader = dict(
    _delete_=True,
    batch_size=50,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='mmpretrain_minigpt4.ShapesDataset',
        first_seed=1_000_000_000,
        num_scenes=1000,
        content='both',
        questions_per_scene=2,
        test_mode=True,
        pipeline={{_base_.pipeline}}))

test_evaluator = [
    dict(type='mmpretrain_minigpt4.ShapesDescription'),
    dict(
        type='mmpretrain_minigpt4.ShapesQuestions',
        answer_key='pred_caption'),
]

test_cfg = dict(type='mmpretrain_minigpt4.EvalLoop')
randomness = dict(seed=42)
