# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Training steps at the shapes of both stages."""

from __future__ import annotations

import functools

from ..bench import Bench, Case
from . import common


def cases(bench: Bench) -> list[Case]:
    """Each stage at two batch sizes, and from features kept."""
    cuda = bench.device.type == 'cuda'
    dtype = 'bfloat16' if cuda else 'float32'
    sizes = (64, 256) if cuda else (4, ) if bench.quick else (8, 16)
    found = []
    for stage in common.STAGES:
        for rows in sizes:
            for cached in (False, True):
                run = functools.partial(common.training, bench, 'train',
                                        stage, rows, dtype, cached=cached)
                found.append(
                    Case(f'{stage}, batch {rows}', lambda run=run: [run()]))
    return found
