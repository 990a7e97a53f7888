# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The most memory that a call holds, weights included."""

from __future__ import annotations

import functools

from mmpretrain_minigpt4.generation import evict

from .. import jobs
from ..bench import Bench, Case
from ..memory import peak_bytes
from ..records import Record
from . import common

MIB = 2**20


def cases(bench: Bench) -> list[Case]:
    """Captions at several batches and lengths, and a training step."""
    cuda = bench.device.type == 'cuda'
    shapes = [(1, 16), (8, 16)] if bench.quick else [(1, 64), (1, 256),
                                                     (8, 64), (16, 64)]
    if cuda:
        shapes = [(1, 64), (32, 64), (128, 64), (256, 64)]
    found = [
        Case(f'batch {rows}, {new} tokens',
             functools.partial(captions, bench, rows, new))
        for rows, new in shapes
    ]
    rows = 256 if cuda else 4 if bench.quick else 16
    return [*found, Case('training',
                         functools.partial(training, bench, rows))]


def captions(bench: Bench, rows: int, new: int, suite: str = 'memory',
             dtype: str | None = None) -> list[Record]:
    """The peak from pixels to captions."""
    dtype = dtype or _dtype(bench)
    pair, tokens = bench.pair(dtype), common.prompt_length(bench)
    sides = jobs.caption(pair, bench.dims, rows, tokens, new)
    record = Record(
        suite, f'memory of captions, batch {rows}, {new} tokens', 'MiB',
        'lower',
        settings=dict(dtype=dtype, batch=rows, prompt=tokens, new_tokens=new))
    cache = rows * (tokens + new) * bench.limits(dtype).cache_bytes
    return [_peaks(bench, record, sides, cache)]


def training(bench: Bench, rows: int, suite: str = 'memory',
             goals: dict | None = None, dtype: str | None = None
             ) -> list[Record]:
    """The peak of a step of stage 1."""
    dtype = dtype or _dtype(bench)
    tokens, answer, bare = common.STAGES['stage 1']
    tokens += bench.dims.queries - 32
    pixels, _, peer = jobs.train(
        bench.pair(dtype), bench.dims, rows, tokens, answer, bare)
    record = Record(
        suite, f'memory of a stage 1 step, batch {rows}', 'MiB', 'lower',
        settings=dict(dtype=dtype, batch=rows, tokens=tokens))
    return [_peaks(bench, record, (pixels, peer), 0, goals)]


def _peaks(bench: Bench, record: Record, sides: tuple, needed: float,
           goals: dict | None = None) -> Record:
    """The peak of each side alone, though both models are there."""
    found = {}
    for name, job in zip(('ours', 'P1'), sides, strict=True):
        job()  # what is made once is no part of a call
        weights = bench.weights(record.settings['dtype'])[name]
        beyond = 0
        for _ in range(2):
            # What is kept for the next call belongs to this one.
            evict(bench.pair(record.settings['dtype']).ours.head.llm)
            beyond = max(beyond, peak_bytes(bench.device, job))
        found[name] = (weights + beyond) / MIB
        bench.ticked()
    record.value, record.rounds = found['ours'], 2
    record.peers['P1'] = dict(
        value=found['P1'], spread=None,
        ratio=found['P1'] / found['ours'], ratio_spread=None)
    # Nobody can do with less than the weights, and the keys and values.
    weights = bench.weights(record.settings['dtype'])['ours']
    least = (weights + needed) / MIB
    record.limit = dict(
        value=least, by='weights and cache', share=least / found['ours'])
    return bench.finish(record, goals)


def _dtype(bench: Bench) -> str:
    return 'bfloat16' if bench.device.type == 'cuda' else 'float32'
