#!/usr/bin/env python3
# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Measure speed and memory beside what a user would take otherwise.

    python tools/benchmark.py --suite cpu --out results.jsonl
    python tools/benchmark.py --write-docs results.jsonl
"""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
# Nothing is fetched. Set before transformers reads it.
os.environ.setdefault('HF_HUB_OFFLINE', '1')

# The package first: it mends the toolbox.
from mmpretrain_minigpt4.cli.log_filters import quiet_imports  # noqa: E402

if __name__ == '__main__':
    quiet_imports()
    from benchmark.command import main
    sys.exit(main(root=ROOT))
