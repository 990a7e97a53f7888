# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
r"""MME: fourteen tasks with two yes/no questions an image.

    VICUNA_DIR=DIR python tools/test.py \
        configs/minigpt4/benchmarks/mme.py

Files: MME_Benchmark_release_version.zip, see the Evaluation branch of
  https://github.com/BradyFU/Awesome-Multimodal-Large-Language-Models.
Layout:
  data/mme/MME_Benchmark_release_version/<task>/*.jpg and *.txt, or
    <task>/images/*.jpg and <task>/questions_answers_YN/*.txt
Prompt: the question as it is; it ends in "Please answer yes or no."
Decoding: greedy, at most 60 tokens, fixed instruction.
Extraction: MME's own (yes or no in the first four characters); extracted_* by
  our rule, with unclear answers wrong.
Samples: 2,374 questions on 1,187 images.
Published: total 806 (exact) / 1048 (extracted) of the 7B weights, 648 / 1067
  of 13B (VLMEvalKit's result files, early 2024).
Hardware: one GPU with 24 GB in bfloat16.
Expected: not measured here.
"""

_base_ = './_base_/questions.py'

model = dict(head=dict(generation=dict(max_new_tokens=60)))

test_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mmpretrain_minigpt4.MMEQuestions',
        data_root='data/mme',
        data_prefix='MME_Benchmark_release_version',
        expected=2374,
        pipeline={{_base_.pipeline}}))

test_evaluator = dict(_delete_=True, type='mmpretrain_minigpt4.MME')
