# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
r"""ScienceQA, the test questions that have an image.

    VICUNA_DIR=DIR python tools/test.py \
        configs/minigpt4/benchmarks/scienceqa_img.py

Files: problems.json, pid_splits.json and test.zip, see
  https://github.com/lupantech/ScienceQA.
Layout:
  data/scienceqa/problems.json
  data/scienceqa/pid_splits.json
  data/scienceqa/images/test/<id>/image.png
Prompt: hint, question, options as "A. ...", one a line, and "Answer with the
  letter of the right option."
Decoding: greedy, at most 60 tokens, fixed instruction.
Extraction: letter or option text by rule; what names none or several counts as
  unclear and wrong, never drawn at random.
Samples: 2,017 questions.
Published: 39.6 of the 7B weights, 46.0 of 13B (VLMEvalKit's result files,
  early 2024).
Hardware: one GPU with 24 GB in bfloat16.
Expected: not measured here.
"""

_base_ = './_base_/questions.py'

model = dict(head=dict(generation=dict(max_new_tokens=60)))

test_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mmpretrain_minigpt4.ScienceQAImages',
        data_root='data/scienceqa',
        ann_file='problems.json',
        data_prefix='images/test',
        expected=2017,
        pipeline={{_base_.pipeline}}))

test_evaluator = dict(
    _delete_=True,
    type='mmpretrain_minigpt4.MultipleChoice',
    prefix='ScienceQA',
    groups=['subject'])
