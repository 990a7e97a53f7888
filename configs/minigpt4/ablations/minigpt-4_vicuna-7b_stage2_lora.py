# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
r"""Second stage of MiniGPT-4, Vicuna-7B v0: LoRA on the queries and values
of the language model is trained beside the projection.

    VICUNA_DIR=DIR python tools/train.py \
    configs/minigpt4/ablations/minigpt-4_vicuna-7b_stage2_lora.py

The paper reports 67.2 / 43.5 on AOK-VQA / GQA with LoRA, trained on VQA data,
which this config does not do; 58.2 / 32.2 without.
Afterwards: minigpt4 merge-lora CONFIG CHECKPOINT --out DIR.

Hardware: as the stage that it changes; not tried.
Expected: not reproduced here.
"""

_base_ = '../minigpt-4_vicuna-7b_stage2.py'

model = dict(
    lora=dict(r=64, alpha=16, target_modules=['q_proj', 'v_proj']))
