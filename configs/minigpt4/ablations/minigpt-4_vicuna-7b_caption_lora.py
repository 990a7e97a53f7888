# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
r"""Describe images with a language model that has LoRA, Vicuna-7B v0.

    VICUNA_DIR=DIR python tools/test.py \
        configs/minigpt4/ablations/minigpt-4_vicuna-7b_caption_lora.py

It reads what minigpt-4_vicuna-7b_stage2_lora.py has written to work_dirs/;
another file is an option: --cfg-options model.checkpoints.1=FILE

Hardware: as minigpt-4_vicuna-7b_caption.py.
Expected: not reproduced here.
"""

_base_ = '../minigpt-4_vicuna-7b_caption.py'

# As in the training.
model = dict(
    lora=dict(r=64, alpha=16, target_modules=['q_proj', 'v_proj']),
    checkpoints=[
        'https://download.openmmlab.com/mmpretrain/v1.0/minigpt4/minigpt-4_'
        '{eva-g-p14_20230615-e908c021,qformer_20230615-1dfa889c}.pth',
        'work_dirs/minigpt-4_vicuna-7b_stage2_lora/trained.safetensors',
    ])
