# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
r"""TextVQA, validation: questions about text in images.

    VICUNA_DIR=DIR python tools/test.py \
        configs/minigpt4/benchmarks/textvqa.py

Files: TextVQA_0.5.1_val.json and train_val_images.zip from
  https://textvqa.org/dataset.
Layout:
  data/textvqa/TextVQA_0.5.1_val.json
  data/textvqa/train_images/*.jpg
Prompt: "<question> Answer the question with a short phrase."
Decoding: greedy, at most 60 tokens, fixed instruction.
Extraction: a short phrase by rule; the score of the untouched answer is given
  as raw_acc, what gives no phrase counts as unclear and wrong.
Samples: 5,000 questions.
Published: 18.7 of the 7B weights (a table in a citing paper).
Hardware: one GPU with 24 GB in bfloat16.
Expected: not measured here.
"""

_base_ = './_base_/questions.py'

model = dict(
    head=dict(
        question_template='{question} Answer the question with a short '
        'phrase.',
        generation=dict(max_new_tokens=60)))

test_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mmpretrain_minigpt4.TextVQAQuestions',
        data_root='data/textvqa',
        ann_file='TextVQA_0.5.1_val.json',
        data_prefix='train_images',
        expected=5000,
        pipeline={{_base_.pipeline}}))

test_evaluator = dict(
    _delete_=True,
    type='mmpretrain_minigpt4.VQAAccuracy',
    prefix='TextVQA')
