# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
r"""COCO captions that a detailed description covers.

    VICUNA_DIR=DIR python tools/test.py \
        configs/minigpt4/benchmarks/caption_recall.py

Files: caption_datasets.zip from
  https://cs.stanford.edu/people/karpathy/deepimagesent; val2014.zip from
  https://cocodataset.org.
Layout:
  data/coco/annotations/dataset_coco.json
  data/coco/val2014/COCO_val2014_*.jpg
Prompt: "Describe this image in detail."
Decoding: greedy, at most 300 tokens, fixed instruction.
Extraction: none.
Samples: 5,000 images with five captions each.
Published: 2.22 of 5 captions (BLIP-2: 1.96), judged by GPT-4 (the MiniGPT-4
  paper). The judge here compares words and gives other numbers; an encoder
  (type="embedding") or an endpoint (type="endpoint") can be set.
Hardware: one GPU with 24 GB in bfloat16.
Expected: not measured here.
"""

_base_ = './_base_/captions.py'

model = dict(
    head=dict(
        prompt='Describe this image in detail.',
        generation=dict(max_new_tokens=300)))

test_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mmpretrain_minigpt4.KarpathyCaptions',
        split='val',
        data_root='data/coco',
        ann_file='annotations/dataset_coco.json',
        expected=5000,
        pipeline={{_base_.pipeline}}))

test_evaluator = dict(
    _delete_=True,
    type='mmpretrain_minigpt4.CaptionRecall',
    judge=dict(type='words'))
