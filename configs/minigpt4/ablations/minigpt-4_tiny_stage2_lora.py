# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
r"""Second stage of the tiny twin: LoRA on the queries and values
of the language model is trained beside the projection.

    python tools/train.py \
        configs/minigpt4/ablations/minigpt-4_tiny_stage2_lora.py

The paper reports 67.2 / 43.5 on AOK-VQA / GQA with LoRA, trained on VQA data,
which this config does not do; 58.2 / 32.2 without.
Afterwards: minigpt4 merge-lora CONFIG CHECKPOINT --out DIR.

Hardware: 2 CPU cores, under 2 GB of memory, minutes.
"""

_base_ = '../minigpt-4_tiny_stage2.py'

model = dict(
    lora=dict(r=8, alpha=16, target_modules=['q_proj', 'v_proj']))
