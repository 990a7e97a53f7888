# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Rows that more than one suite has."""

from __future__ import annotations

import time

import torch

from .. import jobs
from ..bench import Bench
from ..records import Record
from ..roofline import Limit

# Tokens of a training sample and, of these, of its answer: a caption without
# instruction, and a detailed description after one.
STAGES = {'stage 1': (47, 14, True), 'stage 2': (175, 115, False)}


def prompt_length(bench: Bench) -> int:
    """Tokens of a prompt with its image: 100, less for toy sizes."""
    return bench.dims.queries + 68


def decoding(bench: Bench, suite: str, rows: int, new: int,
             dtype: str = 'float32', goals: dict | None = None,
             **options) -> Record:
    """Tokens a second once the prompt is read.

    Timed as the difference between an answer of ``new`` tokens and one of a
    single token, in the same round.
    """
    tokens = prompt_length(bench)
    pair = bench.pair(dtype)
    long = jobs.decode(pair, bench.dims, rows, tokens, new, **options)
    short = jobs.decode(pair, bench.dims, rows, tokens, 1, **options)
    sides = dict(
        ours=dict(run=long[0], without=short[0]),
        P1=dict(run=long[1], without=short[1]))
    settings = dict(
        dtype=dtype, batch=rows, prompt=tokens, new_tokens=new, **options)
    if bench.settings.static and not options:
        run, seconds = static(bench, dtype, rows, tokens, new)
        settings['P2_compile_seconds'] = seconds
        without, _ = static(bench, dtype, rows, tokens, 1)
        sides['P2'] = dict(run=run, without=without)
    beams = options.get('num_beams', 1)
    step = bench.limits(dtype).step(rows * beams, tokens + new / 2)
    name = f'decode, batch {rows}' + (f', {beams} beams' if beams > 1 else '')
    return bench.measure(
        Record(suite, name, 'tokens/s', settings=settings),
        sides,
        rows * (new - 1),
        Limit((new - 1) * step.seconds, step.by),
        goals)


def static(bench: Bench, dtype: str, rows: int, tokens: int, new: int
           ) -> tuple[jobs.Job, float]:
    """P2's job, P1 with a static cache, and the seconds to compile it."""
    _, job = jobs.decode(
        bench.pair(dtype), bench.dims, rows, tokens, new,
        cache_implementation='static')
    started = time.perf_counter()
    for _ in range(3):  # the second and third call may compile once more
        job()
    if bench.device.type == 'cuda':
        torch.cuda.synchronize()
    return job, round(time.perf_counter() - started, 1)


def captioning(bench: Bench, suite: str, rows: int, new: int,
               dtype: str = 'float32', goals: dict | None = None,
               rounds: int | None = None) -> Record:
    """Images a second, from pixels to a caption of ``new`` tokens."""
    tokens = prompt_length(bench)
    ours, peer = jobs.caption(
        bench.pair(dtype), bench.dims, rows, tokens, new)
    return bench.measure(
        Record(
            suite,
            f'whole caption, batch {rows}',
            'images/s',
            settings=dict(
                dtype=dtype, batch=rows, prompt=tokens, new_tokens=new)),
        dict(ours=dict(run=ours), P1=dict(run=peer)),
        rows,
        bench.limits(dtype).caption(rows, tokens, new),
        goals,
        rounds)


def first_token(bench: Bench, suite: str, dtype: str = 'float32',
                goals: dict | None = None) -> Record:
    """From pixels to the first token, one image."""
    tokens = prompt_length(bench)
    ours, peer = jobs.caption(bench.pair(dtype), bench.dims, 1, tokens, 1)
    return bench.measure(
        Record(
            suite,
            'first token, batch 1',
            'ms',
            'lower',
            settings=dict(dtype=dtype, batch=1, prompt=tokens)),
        dict(ours=dict(run=ours), P1=dict(run=peer)),
        1,
        bench.limits(dtype).caption(1, tokens, 1),
        goals)


def training(bench: Bench, suite: str, stage: str, rows: int,
             dtype: str = 'float32', goals: dict | None = None,
             cached: bool = False, rounds: int | None = None) -> Record:
    """Training steps of the projection, pairs a second."""
    tokens, answer, bare = STAGES[stage]
    # Toy sizes have fewer visual tokens.
    tokens += bench.dims.queries - 32
    pixels, features, peer = jobs.train(
        bench.pair(dtype), bench.dims, rows, tokens, answer, bare)
    name = f'{stage} step, batch {rows}'
    if cached:
        name += ', features kept'
    return bench.measure(
        Record(
            suite,
            name,
            'pairs/s',
            settings=dict(
                dtype=dtype, batch=rows, tokens=tokens, answer=answer)),
        dict(
            ours=dict(run=features if cached else pixels),
            P1=dict(run=peer)),
        rows,
        bench.limits(dtype).training(rows, tokens, answer, not cached),
        goals,
        rounds)
