# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
r"""SEED-Bench, questions about images, by free text.

    VICUNA_DIR=DIR python tools/test.py \
        configs/minigpt4/benchmarks/seed_bench.py

Files: SEED-Bench.json and SEED-Bench-image.zip from
  https://huggingface.co/datasets/AILab-CVPR/SEED-Bench.
Layout:
  data/seed-bench/SEED-Bench.json
  data/seed-bench/SEED-Bench-image/*
Prompt: question, options as "A. ...", one a line, and "Answer with the letter
  of the right option."
Decoding: greedy, at most 60 tokens, fixed instruction.
Extraction: letter or option text by rule; what names none or several counts as
  unclear and wrong, never drawn at random.
Samples: 14,233 questions.
Published: free text 23.3, extracted 31.6 of the 7B weights (VLMEvalKit's
  result files, early 2024).
Hardware: one GPU with 24 GB in bfloat16.
Expected: not measured here.
"""

_base_ = './_base_/questions.py'

model = dict(head=dict(generation=dict(max_new_tokens=60)))

test_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mmpretrain_minigpt4.SEEDBench',
        data_root='data/seed-bench',
        ann_file='SEED-Bench.json',
        data_prefix='SEED-Bench-image',
        expected=14233,
        pipeline={{_base_.pipeline}}))

test_evaluator = dict(
    _delete_=True,
    type='mmpretrain_minigpt4.MultipleChoice',
    prefix='SEED',
    groups=['category'])
