# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
r"""IconQA, test questions with options in text.

    VICUNA_DIR=DIR python tools/test.py \
        configs/minigpt4/benchmarks/iconqa.py

Files: iconqa_data.zip, see https://iconqa.github.io.
Layout:
  data/iconqa/test/choose_txt/<id>/data.json
  data/iconqa/test/choose_txt/<id>/image.png
Prompt: question, options as "A. ...", one a line, and "Answer with the letter
  of the right option."
Decoding: greedy, at most 60 tokens, fixed instruction.
Extraction: letter or option text by rule; what names none or several counts as
  unclear and wrong, never drawn at random.
Samples: 6,316 questions.
Published: 37.6 of the 13B weights (a citing survey).
Hardware: one GPU with 24 GB in bfloat16.
Expected: not measured here.
"""

_base_ = './_base_/questions.py'

model = dict(head=dict(generation=dict(max_new_tokens=60)))

test_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mmpretrain_minigpt4.IconQAChoices',
        data_root='data/iconqa',
        data_prefix='test/choose_txt',
        expected=6316,
        pipeline={{_base_.pipeline}}))

test_evaluator = dict(
    _delete_=True,
    type='mmpretrain_minigpt4.MultipleChoice',
    prefix='IconQA')
