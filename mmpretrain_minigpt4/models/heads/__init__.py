# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Heads: language models that read visual tokens."""

from .vicuna import VicunaHead

__all__ = ['VicunaHead']
