# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""``python -m mmpretrain_minigpt4`` is the command ``minigpt4``."""

import sys

from .cli import main

sys.exit(main())
