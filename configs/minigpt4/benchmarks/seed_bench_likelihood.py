# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
r"""SEED-Bench, questions about images, by likelihood.

    VICUNA_DIR=DIR python tools/test.py \
        configs/minigpt4/benchmarks/seed_bench_likelihood.py

Files: SEED-Bench.json and SEED-Bench-image.zip from
  https://huggingface.co/datasets/AILab-CVPR/SEED-Bench.
Layout:
  data/seed-bench/SEED-Bench.json
  data/seed-bench/SEED-Bench-image/*
Prompt: the question alone; each option is scored as its answer.
Decoding: greedy, at most 60 tokens, fixed instruction.
Extraction: none: the option whose tokens have the highest mean
  log-probability.
Samples: 14,233 questions.
Published: 47.4 of the 7B weights (SEED-Bench's own table).
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
        template='{question}',
        pipeline={{_base_.scoring_pipeline}}))

test_evaluator = dict(
    _delete_=True,
    type='mmpretrain_minigpt4.MultipleChoice',
    prefix='SEED',
    by='likelihood',
    groups=['category'])
