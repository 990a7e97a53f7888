# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
r"""CHAIR: hallucinated objects of detailed descriptions.

    VICUNA_DIR=DIR python tools/test.py \
        configs/minigpt4/benchmarks/chair_long.py

Files: annotations_trainval2014.zip and val2014.zip from
  https://cocodataset.org.
Layout:
  data/coco/annotations/captions_val2014.json
  data/coco/annotations/instances_val2014.json
  data/coco/val2014/COCO_val2014_*.jpg
Prompt: "Please describe this image as detailed as possible."
Decoding: greedy, at most 300 tokens, fixed instruction.
Extraction: words for COCO's categories, by this package's own table; that of
  the CHAIR paper can be handed in (synonyms=).
Samples: 500 images of val2014, drawn with seed 42.
Published: CHAIR_i 9.6 at 175 words (the MiniGPT-4 paper, its own images); with
  "Please help me describe the image in detail" CHAIR_s / CHAIR_i greedy 35.2 /
  10.7, beam 33.0 / 11.0, nucleus 34.8 / 11.2 (a citing paper).
Hardware: one GPU with 24 GB in bfloat16.
Expected: not measured here.
"""

_base_ = './_base_/captions.py'

model = dict(
    head=dict(
        prompt='Please describe this image as detailed as possible.',
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
