# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
r"""VSR (zero-shot split): is a statement about places true?

    VICUNA_DIR=DIR python tools/test.py \
        configs/minigpt4/benchmarks/vsr.py

Files: data/splits/zeroshot/test.jsonl of
  https://github.com/cambridgeltl/visual-spatial-reasoning; its images, from
  COCO's train2017.zip and val2017.zip, all in one folder.
Layout:
  data/vsr/zeroshot/test.jsonl
  data/vsr/images/000000*.jpg
Prompt: "Is it true that: <statement> Please answer yes or no."
Decoding: greedy, at most 60 tokens, fixed instruction.
Extraction: rule-based yes or no; what is neither is counted as unclear and
  wrong.
Samples: 1,222 statements.
Published: 41.6 or 50.7 accuracy of the 13B weights (two surveys disagree).
Hardware: one GPU with 24 GB in bfloat16.
Expected: not measured here.
"""

_base_ = './_base_/questions.py'

model = dict(
    head=dict(
        question_template='Is it true that: {question} Please answer yes or '
        'no.',
        generation=dict(max_new_tokens=60)))

test_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mmpretrain_minigpt4.VSRStatements',
        data_root='data/vsr',
        ann_file='zeroshot/test.jsonl',
        data_prefix='images',
        expected=1222,
        pipeline={{_base_.pipeline}}))

test_evaluator = dict(
    _delete_=True,
    type='mmpretrain_minigpt4.YesNoAccuracy',
    prefix='VSR',
    group='relation')
