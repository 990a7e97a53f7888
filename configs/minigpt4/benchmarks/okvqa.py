# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
r"""OK-VQA, validation: questions that need outside knowledge.

    VICUNA_DIR=DIR python tools/test.py \
        configs/minigpt4/benchmarks/okvqa.py

Files: OpenEnded_mscoco_val2014_questions.json.zip and
  mscoco_val2014_annotations.json.zip from
  https://okvqa.allenai.org/download.html; val2014.zip from
  https://cocodataset.org.
Layout:
  data/okvqa/OpenEnded_mscoco_val2014_questions.json
  data/okvqa/mscoco_val2014_annotations.json
  data/coco/val2014/COCO_val2014_*.jpg
Prompt: "<question> Answer the question with a short phrase."
Decoding: greedy, at most 60 tokens, fixed instruction.
Extraction: a short phrase by rule; the score of the untouched answer is given
  as raw_acc, what gives no phrase counts as unclear and wrong.
Samples: 5,046 questions.
Published: 32.1 of the 7B weights (a table in a citing paper), 37.5 of 13B (a
  citing survey).
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
        data_root='data',
        question_file='okvqa/OpenEnded_mscoco_val2014_questions.json',
        ann_file='okvqa/mscoco_val2014_annotations.json',
        data_prefix='coco/val2014',
        expected=5046,
        pipeline={{_base_.pipeline}}))

test_evaluator = dict(
    _delete_=True,
    type='mmpretrain_minigpt4.VQAAccuracy',
    prefix='OKVQA')
