# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Decoding: options, where an answer ends, and the loop over tokens."""

from .decode import decode, row_limit
from .options import CHAT_OPTIONS, GenerationOptions
from .stopping import Answer, StopMatcher, TextStream

__all__ = [
    'CHAT_OPTIONS', 'Answer', 'GenerationOptions', 'StopMatcher',
    'TextStream', 'decode', 'row_limit'
]
