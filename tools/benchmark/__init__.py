# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Measuring: ours beside its peers, and both beside what the machine allows.

Nothing else in the package imports this room; ``tools/benchmark.py`` does.
"""
