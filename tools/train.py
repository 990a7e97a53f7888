#!/usr/bin/env python3
# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Train a model: ``python tools/train.py CONFIG [options]``."""

import sys
from pathlib import Path

# In a checkout, its own package; in a wheel this adds nothing.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mmpretrain_minigpt4.cli.scripts import train

if __name__ == '__main__':
    sys.exit(train())
