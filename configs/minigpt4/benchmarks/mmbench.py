# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
r"""MMBench, development split, in circles.

    VICUNA_DIR=DIR python tools/test.py \
        configs/minigpt4/benchmarks/mmbench.py

Files: mmbench_dev_20230712.tsv (or a later one), see
  https://github.com/open-compass/MMBench. For the test split set ann_file and
  write the answers by DumpPredictions(form="tsv") for its server.
Layout:
  data/mmbench/mmbench_dev_20230712.tsv  (images are inside)
Prompt: hint, question, options as "A. ...", one a line, and "Answer with the
  letter of the right option."
Decoding: greedy, at most 60 tokens, fixed instruction.
Extraction: letter or option text by rule; what names none or several counts as
  unclear and wrong, never drawn at random.
Samples: 1,164 questions, each asked once for each rotation of its options;
  right is what is right in all of them ("circular").
Published: test split, circular: 30.5 of the 7B weights, 38.8 of 13B (a citing
  table).
Hardware: one GPU with 24 GB in bfloat16.
Expected: not measured here.
"""

_base_ = './_base_/questions.py'

model = dict(head=dict(generation=dict(max_new_tokens=60)))

test_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mmpretrain_minigpt4.MMBench',
        data_root='data/mmbench',
        ann_file='mmbench_dev_20230712.tsv',
        circular=True,
        pipeline={{_base_.pipeline}}))

test_evaluator = dict(
    _delete_=True,
    type='mmpretrain_minigpt4.MultipleChoice',
    prefix='MMBench',
    groups=['l2_category', 'category'])
