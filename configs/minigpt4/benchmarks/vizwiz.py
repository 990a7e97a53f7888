# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
r"""VizWiz, validation: questions of blind people.

    VICUNA_DIR=DIR python tools/test.py \
        configs/minigpt4/benchmarks/vizwiz.py

Files: Annotations.zip and val.zip from
  https://vizwiz.org/tasks-and-datasets/vqa.
Layout:
  data/vizwiz/Annotations/val.json
  data/vizwiz/val/VizWiz_val_*.jpg
Prompt: "<question> Answer the question with a short phrase."
Decoding: greedy, at most 60 tokens, fixed instruction.
Extraction: a short phrase by rule; the score of the untouched answer is given
  as raw_acc, what gives no phrase counts as unclear and wrong.
Samples: 4,319 questions.
Published: 34.8 of the 13B weights (a citing survey).
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
        type='mmpretrain_minigpt4.VizWizQuestions',
        data_root='data/vizwiz',
        ann_file='Annotations/val.json',
        data_prefix='val',
        expected=4319,
        pipeline={{_base_.pipeline}}))

test_evaluator = dict(
    _delete_=True,
    type='mmpretrain_minigpt4.VQAAccuracy',
    prefix='VizWiz',
    group='answer_type')
