# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
r"""Describe images with a language model that has LoRA, tiny.

    python tools/test.py \
        configs/minigpt4/ablations/minigpt-4_tiny_caption_lora.py

It reads what minigpt-4_tiny_stage2_lora.py has written to work_dirs/; another
file is an option: --cfg-options model.checkpoints.1=FILE

Hardware: 2 CPU cores, minutes.
Expected: not reproduced here.
"""

_base_ = '../minigpt-4_tiny_caption.py'

# As in the training.
model = dict(
    lora=dict(r=8, alpha=16, target_modules=['q_proj', 'v_proj']),
    checkpoints=[
        'asset://tiny/vision.safetensors',
        'work_dirs/minigpt-4_tiny_stage2_lora/trained.safetensors',
    ])
