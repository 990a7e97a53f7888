# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
r"""NoCaps, validation: objects that COCO has no captions of.

    VICUNA_DIR=DIR python tools/test.py \
        configs/minigpt4/benchmarks/nocaps.py

Files: nocaps_val_4500_captions.json and the images, see
  https://nocaps.org/download.
Layout:
  data/nocaps/nocaps_val_4500_captions.json
  data/nocaps/images/*.jpg
Prompt: "Describe this image in detail."
Decoding: greedy, at most 300 tokens, fixed instruction.
Extraction: none; PTB tokenizer where Java is there.
Samples: 4,500 images.
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
        type='mmpretrain_minigpt4.COCOFormatCaptions',
        data_root='data/nocaps',
        ann_file='nocaps_val_4500_captions.json',
        data_prefix='images',
        expected=4500,
        pipeline={{_base_.pipeline}}))

test_evaluator = dict(
    _delete_=True,
    type='mmpretrain_minigpt4.CaptionScores',
    prefix='NoCaps',
    group='domain')
