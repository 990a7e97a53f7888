# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Decoding: options, where an answer ends, and the engine over tokens."""

from .decode import answer_all, answer_stream, decode
from .decoder_pool import evict
from .engine import Engine, Event, Request, row_limit
from .engine_config import EngineConfig
from .prompt import Prompt
from .sampling_params import CHAT_OPTIONS, SamplingParams
from .stop_criteria import Answer, IncrementalDetokenizer, StopChecker

__all__ = [
    'CHAT_OPTIONS', 'Answer', 'Engine', 'EngineConfig', 'Event',
    'IncrementalDetokenizer', 'Prompt', 'Request', 'SamplingParams',
    'StopChecker', 'answer_all', 'answer_stream', 'decode', 'evict',
    'row_limit'
]
