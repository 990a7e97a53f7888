# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""What a program calls: the inferencers, and the list of models.

The inferencers need torch and the toolbox, which take seconds to import;
they are imported when they are first asked for.
"""

from typing import TYPE_CHECKING, Any

from ..benchmarks import Benchmark, find_benchmark, list_benchmarks
from ..zoo import Entry, check_device
from ..zoo import entries as list_entries

if TYPE_CHECKING:
    from .caption import CaptionInferencer
    from .chat import Chat
    from .evaluation import evaluate
    from .inferencers import open_model
    from .scoring import score_answers
    from .vqa import VQAInferencer

_LAZY = {
    'CaptionInferencer': 'caption',
    'Chat': 'chat',
    'VQAInferencer': 'vqa',
    'evaluate': 'evaluation',
    'open_model': 'inferencers',
    'score_answers': 'scoring',
}

__all__ = [
    'Benchmark', 'CaptionInferencer', 'Chat', 'Entry', 'VQAInferencer',
    'check_device', 'evaluate', 'find_benchmark', 'list_benchmarks',
    'list_entries', 'open_model', 'score_answers'
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f'module {__name__!r} has no {name!r}')
    from importlib import import_module
    return getattr(import_module(f'{__name__}.{_LAZY[name]}'), name)
