# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
r"""Flickr30k captions, Karpathy's test split.

    VICUNA_DIR=DIR python tools/test.py \
        configs/minigpt4/benchmarks/flickr30k.py

Files: caption_datasets.zip from
  https://cs.stanford.edu/people/karpathy/deepimagesent; images by the form at
  https://shannon.cs.illinois.edu/DenotationGraph.
Layout:
  data/flickr30k/dataset_flickr30k.json
  data/flickr30k/images/*.jpg
Prompt: "Describe this image in detail."
Decoding: greedy, at most 300 tokens, fixed instruction.
Extraction: none; PTB tokenizer where Java is there.
Samples: 1,000 images.
Published: none known.
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
        data_root='data/flickr30k',
        ann_file='dataset_flickr30k.json',
        data_prefix='images',
        expected=1000,
        pipeline={{_base_.pipeline}}))

test_evaluator = dict(
    _delete_=True,
    type='mmpretrain_minigpt4.CaptionScores',
    prefix='Flickr30k')
