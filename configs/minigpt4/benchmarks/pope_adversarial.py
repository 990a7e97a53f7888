# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
r"""POPE, adversarial negatives: is an object in the image?

    VICUNA_DIR=DIR python tools/test.py \
        configs/minigpt4/benchmarks/pope_adversarial.py

Files: coco_pope_adversarial.json from output/coco of
  https://github.com/RUCAIBox/POPE; val2014.zip from https://cocodataset.org.
Layout:
  data/pope/coco_pope_adversarial.json
  data/coco/val2014/COCO_val2014_*.jpg
Prompt: "<question> Please answer yes or no."
Decoding: greedy, at most 60 tokens, fixed instruction.
Extraction: POPE's own rule (all but a denial is yes); strict_* are by our
  rule, with unclear answers wrong.
Samples: 3,000 questions on 500 images.
Published: 65.2 / 70.4 accuracy / F1 of the 7B weights (POPE paper and its
  citing tables); mean F1 over the three in another source: greedy 76.8, beam
  72.4, nucleus 62.0.
Hardware: one GPU with 24 GB in bfloat16.
Expected: not measured here.
"""

_base_ = './_base_/questions.py'

model = dict(
    head=dict(
        question_template='{question} Please answer yes or no.',
        generation=dict(max_new_tokens=60)))

test_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mmpretrain_minigpt4.POPEQuestions',
        data_root='data',
        ann_file='pope/coco_pope_adversarial.json',
        data_prefix='coco/val2014',
        expected=3000,
        pipeline={{_base_.pipeline}}))

test_evaluator = dict(_delete_=True, type='mmpretrain_minigpt4.POPE')
