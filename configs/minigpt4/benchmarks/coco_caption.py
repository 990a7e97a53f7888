# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
r"""COCO captions, Karpathy's validation split.

    VICUNA_DIR=DIR python tools/test.py \
        configs/minigpt4/benchmarks/coco_caption.py

Files: caption_datasets.zip from
  https://cs.stanford.edu/people/karpathy/deepimagesent; val2014.zip from
  https://cocodataset.org.
Layout:
  data/coco/annotations/dataset_coco.json
  data/coco/val2014/COCO_val2014_*.jpg
Prompt: "Describe this image in detail."
Decoding: greedy, at most 300 tokens, fixed instruction.
Extraction: none; PTB tokenizer where Java is there.
Samples: 5,000 images.
Published: val-5k: BLEU-4 4.3, ROUGE-L 17.5, CIDEr 0.8 of the 7B weights, 4.4,
  19.8, 1.3 of 13B, in percent; 62 +- 31 words (VLMEvalKit's result files,
  early 2024). Long answers score low whatever they say.
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

test_evaluator = dict(_delete_=True, type='mmpretrain_minigpt4.CaptionScores')
