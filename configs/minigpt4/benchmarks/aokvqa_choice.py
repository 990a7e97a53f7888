# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
r"""A-OKVQA, validation, multiple choice.

    VICUNA_DIR=DIR python tools/test.py \
        configs/minigpt4/benchmarks/aokvqa_choice.py

Files: aokvqa_v1p0.tar.gz from https://allenai.org/project/a-okvqa/home;
  val2017.zip from https://cocodataset.org.
Layout:
  data/aokvqa/aokvqa_v1p0_val.json
  data/coco/val2017/000000*.jpg
Prompt: question, options as "A. ...", one a line, and "Answer with the letter
  of the right option."
Decoding: greedy, at most 60 tokens, fixed instruction.
Extraction: letter or option text by rule; what names none or several counts as
  unclear and wrong, never drawn at random.
Samples: 1,145 questions.
Published: 58.2 (the MiniGPT-4 paper, which does not say in which of the two
  settings).
Hardware: one GPU with 24 GB in bfloat16.
Expected: not measured here.
"""

_base_ = './_base_/questions.py'

model = dict(head=dict(generation=dict(max_new_tokens=60)))

test_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mmpretrain_minigpt4.AOKVQA',
        data_root='data',
        ann_file='aokvqa/aokvqa_v1p0_val.json',
        data_prefix='coco/val2017',
        expected=1145,
        pipeline={{_base_.pipeline}}))

test_evaluator = dict(
    _delete_=True,
    type='mmpretrain_minigpt4.MultipleChoice',
    prefix='AOKVQA')
