# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
r"""VQAv2, validation.

    VICUNA_DIR=DIR python tools/test.py \
        configs/minigpt4/benchmarks/vqav2.py

Files: v2_Questions_Val_mscoco.zip and v2_Annotations_Val_mscoco.zip from
  https://visualqa.org/download.html; val2014.zip from https://cocodataset.org.
Layout:
  data/coco/annotations/v2_OpenEnded_mscoco_val2014_questions.json
  data/coco/annotations/v2_mscoco_val2014_annotations.json
  data/coco/val2014/COCO_val2014_*.jpg
Prompt: "<question> Answer the question with a short phrase."
Decoding: greedy, at most 60 tokens, fixed instruction.
Extraction: a short phrase by rule; the score of the untouched answer is given
  as raw_acc, what gives no phrase counts as unclear and wrong.
Samples: 214,354 questions.
Published: 44.3 of the 7B weights (a table in a citing paper).
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
        type='mmpretrain_minigpt4.VQAQuestions',
        data_root='data/coco',
        question_file='annotations/v2_OpenEnded_mscoco_val2014_questions.json',
        ann_file='annotations/v2_mscoco_val2014_annotations.json',
        data_prefix='val2014',
        expected=214354,
        pipeline={{_base_.pipeline}}))

test_evaluator = dict(
    _delete_=True,
    type='mmpretrain_minigpt4.VQAAccuracy',
    prefix='VQAv2',
    group='answer_type')
