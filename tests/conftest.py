# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""What every test needs: the package before the toolbox, and no network."""

import os

# Before transformers or huggingface_hub read them: a test never downloads.
os.environ.setdefault('HF_HUB_OFFLINE', '1')
os.environ.setdefault('TRANSFORMERS_OFFLINE', '1')

import mmpretrain_minigpt4  # noqa: E402, F401, I001
