# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The suites by name; each gives its cases for a run."""

from collections.abc import Callable

from ..bench import Bench, Case
from . import cpu, gpu, memory, scaling, train

SUITES: dict[str, Callable[[Bench], list[Case]]] = dict(
    cpu=cpu.cases,
    gpu=gpu.cases,
    train=train.cases,
    scaling=scaling.cases,
    memory=memory.cases)

__all__ = ['SUITES']
