# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
r"""Hateful memes (dev seen): is a meme hateful?

    VICUNA_DIR=DIR python tools/test.py \
        configs/minigpt4/benchmarks/hateful_memes.py

Files: the Hateful Memes data set, by its form at
  https://hatefulmemeschallenge.com.
Layout:
  data/hateful_memes/dev_seen.jsonl
  data/hateful_memes/img/*.png
Prompt: "This is an image with "<text>" written on it. Is it hateful? Please
  answer yes or no."
Decoding: greedy, at most 60 tokens, fixed instruction.
Extraction: rule-based yes or no; what is neither is counted as unclear and
  wrong. AUROC is given where the head scores candidates.
Samples: 500 memes.
Published: 29.0 of the 13B weights (a citing survey).
Hardware: one GPU with 24 GB in bfloat16.
Expected: not measured here.
"""

_base_ = './_base_/questions.py'

model = dict(head=dict(generation=dict(max_new_tokens=60)))

test_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mmpretrain_minigpt4.HatefulMemes',
        data_root='data/hateful_memes',
        ann_file='dev_seen.jsonl',
        expected=500,
        pipeline={{_base_.pipeline}}))

test_evaluator = dict(
    _delete_=True,
    type='mmpretrain_minigpt4.YesNoAccuracy',
    prefix='hateful_memes')
