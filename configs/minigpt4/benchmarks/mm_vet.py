# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
r"""MM-Vet: open questions, judged by GPT-4 elsewhere.

    VICUNA_DIR=DIR python tools/test.py \
        configs/minigpt4/benchmarks/mm_vet.py

Files: mm-vet.zip, see https://github.com/yuweihao/MM-Vet.
Layout:
  data/mm-vet/mm-vet.json
  data/mm-vet/images/v1_*.png
Prompt: the question as it is.
Decoding: greedy, at most 300 tokens, fixed instruction.
Extraction: none; answers are written to work_dirs/mm-vet.json for MM-Vet's own
  judge.
Samples: 218 questions.
Published: 22.1 of the 7B weights, 24.4 of 13B (VLMEvalKit's result files,
  early 2024).
Hardware: one GPU with 24 GB in bfloat16.
Expected: not measured here.
"""

_base_ = './_base_/questions.py'

model = dict(head=dict(generation=dict(max_new_tokens=300)))

test_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mmpretrain_minigpt4.MMVetQuestions',
        data_root='data/mm-vet',
        ann_file='mm-vet.json',
        data_prefix='images',
        expected=218,
        pipeline={{_base_.pipeline}}))

test_evaluator = dict(
    _delete_=True,
    type='mmpretrain_minigpt4.DumpPredictions',
    path='work_dirs/mm-vet.json')
