# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Decoding: options, where an answer ends, and the engine over tokens."""

from .decode import answer_all, answer_stream, decode
from .engine import Engine, Event, Request, row_limit
from .keeping import release
from .llama import TOGETHER, Llama
from .options import CHAT_OPTIONS, GenerationOptions
from .prompt import Prompt
from .settings import EngineSettings
from .stopping import Answer, StopMatcher, TextStream
from .transfer import on_device, send

__all__ = [
    'CHAT_OPTIONS', 'TOGETHER', 'Answer', 'Engine', 'EngineSettings', 'Event',
    'GenerationOptions', 'Llama', 'Prompt', 'Request', 'StopMatcher',
    'TextStream', 'answer_all', 'answer_stream', 'decode', 'on_device',
    'release', 'row_limit', 'send'
]
