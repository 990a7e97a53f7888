# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
r"""GQA, balanced test-dev.

    VICUNA_DIR=DIR python tools/test.py \
        configs/minigpt4/benchmarks/gqa.py

Files: questions1.2.zip and images.zip from
  https://cs.stanford.edu/people/dorarad/gqa/download.html.
Layout:
  data/gqa/testdev_balanced_questions.json
  data/gqa/images/*.jpg
Prompt: "<question> Answer the question with a short phrase."
Decoding: greedy, at most 60 tokens, fixed instruction.
Extraction: a short phrase by rule; the score of the untouched answer is given
  as raw_acc, what gives no phrase counts as unclear and wrong.
Samples: 12,578 questions.
Published: 32.2 (the MiniGPT-4 paper); 30.8 of the 13B weights (a citing
  survey).
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
        type='mmpretrain_minigpt4.GQAQuestions',
        data_root='data/gqa',
        ann_file='testdev_balanced_questions.json',
        data_prefix='images',
        expected=12578,
        pipeline={{_base_.pipeline}}))

test_evaluator = dict(
    _delete_=True,
    type='mmpretrain_minigpt4.VQAAccuracy',
    prefix='GQA',
    rule='exact',
    group='question_type')
