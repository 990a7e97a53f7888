# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
r"""Share of failed generations: detailed descriptions.

    VICUNA_DIR=DIR python tools/test.py \
        configs/minigpt4/benchmarks/degeneration_descriptions.py

Files: caption_datasets.zip from
  https://cs.stanford.edu/people/karpathy/deepimagesent; val2014.zip from
  https://cocodataset.org.
Layout:
  data/coco/annotations/dataset_coco.json
  data/coco/val2014/COCO_val2014_*.jpg
Prompt: "Describe this image in detail."
Decoding: greedy, at most 300 tokens, fixed instruction.
Extraction: rules on the text alone, see DegenerationRate.
Samples: the first 100 images of Karpathy's test split.
Published: 35 % after stage 1, 2 % after stage 2, counted by people (the
  MiniGPT-4 paper). This is an automatic proxy: it sees breaks and repetition,
  not what is beside the point.
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
        split='test',
        data_root='data/coco',
        ann_file='annotations/dataset_coco.json',
        indices=100,
        pipeline={{_base_.pipeline}}))

test_evaluator = dict(
    _delete_=True, type='mmpretrain_minigpt4.DegenerationRate')
