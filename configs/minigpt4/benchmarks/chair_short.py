# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
r"""CHAIR: hallucinated objects of short descriptions.

    VICUNA_DIR=DIR python tools/test.py \
        configs/minigpt4/benchmarks/chair_short.py

Files: annotations_trainval2014.zip and val2014.zip from
  https://cocodataset.org.
Layout:
  data/coco/annotations/captions_val2014.json
  data/coco/annotations/instances_val2014.json
  data/coco/val2014/COCO_val2014_*.jpg
Prompt: "Please describe the image shortly and precisely, in less than 20
  words."
Decoding: greedy, at most 300 tokens, fixed instruction.
Extraction: words for COCO's categories, by this package's own table; that of
  the CHAIR paper can be handed in (synonyms=).
Samples: 500 images of val2014, drawn with seed 42.
Published: CHAIR_i 7.2 at 28.8 words (the MiniGPT-4 paper, its own images).
Hardware: one GPU with 24 GB in bfloat16.
Expected: not measured here.
"""

_base_ = './_base_/captions.py'

model = dict(
    head=dict(
        prompt='Please describe the image shortly and precisely, '
        'in less than 20 words.',
        generation=dict(max_new_tokens=300)))

test_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mmpretrain_minigpt4.COCOFormatCaptions',
        data_root='data/coco',
        ann_file='annotations/captions_val2014.json',
        data_prefix='val2014',
        num_images=500,
        expected=500,
        pipeline={{_base_.pipeline}}))

test_evaluator = dict(
    _delete_=True,
    type='mmpretrain_minigpt4.CHAIR',
    instances='data/coco/annotations/instances_val2014.json',
    captions='data/coco/annotations/captions_val2014.json')
