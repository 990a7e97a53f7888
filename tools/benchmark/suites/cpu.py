# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""What a CPU user waits for: seeing, writing, training, reduced precision."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from .. import equality, jobs
from ..baseline import build_ours
from ..bench import Bench, Case, Pair
from ..records import Record, limit_rate, rate, summarize
from ..roofline import Limit
from . import common


def cases(bench: Bench) -> list[Case]:
    """The rows; goals are those of the bench dims."""
    goals = bench.dims.name == 'bench'
    new = 17 if bench.quick else 65
    train = 4 if bench.quick else 8

    def goal(ratio: float) -> dict:
        return dict(P1=ratio) if goals else {}

    return [
        Case('vision', lambda: [_vision(bench, goal(2.0))]),
        Case('first token', lambda: [common.first_token(bench, 'cpu')]),
        Case('decode 1', lambda: [
            common.decoding(bench, 'cpu', 1, new, goals=goal(1.7))]),
        Case('decode 8', lambda: [
            common.decoding(bench, 'cpu', 8, new, goals=goal(2.0))]),
        Case('caption', lambda: [common.captioning(bench, 'cpu', 1, new)]),
        Case('training', lambda: [
            common.training(bench, 'cpu', 'stage 1', train,
                            goals=goal(1.6))]),
        Case('training, features kept', lambda: [
            common.training(bench, 'cpu', 'stage 1', train, cached=True,
                            goals=goal(2.4))]),
        Case('bfloat16', lambda: _reduced(
            bench, new, goal(2.8), 'bfloat16', 2, dtype='bfloat16')),
        Case('int8-dynamic', lambda: _reduced(
            bench, new, goal(4.0), 'int8-dynamic', 1,
            quantization='int8-dynamic')),
    ]


def _vision(bench: Bench, goals: dict) -> Record:
    rows = 2 if bench.quick else 4
    ours, peer = jobs.encode(bench.pair('float32'), bench.dims, rows)
    return bench.measure(
        Record(
            'cpu', f'vision, batch {rows}', 'images/s',
            settings=dict(dtype='float32', batch=rows)),
        dict(ours=dict(run=ours), P1=dict(run=peer)),
        rows,
        bench.limits('float32').vision(rows),
        goals)


def _reduced(bench: Bench, new: int, goals: dict, name: str,
             weight_bytes: float, dtype: str = 'float32',
             **head) -> Iterator[Record]:
    """Decoding in reduced precision, against P1 in float32 and bfloat16."""
    record = Record(
        'cpu', f'decode, batch 1, {name}', 'tokens/s',
        settings=dict(dtype=dtype, batch=1, new_tokens=new, **head))
    exact = bench.pair('float32')
    # From the same seed, so from the same weights.
    ours = build_ours(bench.dims, dtype, bench.device, **
                      head) if head else bench.pair(dtype).ours
    tokens = common.prompt_length(bench)
    record.settings['prompt'] = tokens
    with torch.no_grad():
        # How far the visual tokens and logits are from float32.
        found = equality.compare(ours, exact.peer, bench.dims)
    record.settings['distance'] = {
        key: found[key] for key in ('logits', 'loss')}
    reduced = Pair(ours, exact.peer)
    sides = {}
    for side, pair, job in (('ours', reduced, 0), ('P1', exact, 1),
                            ('P1 bfloat16', bench.pair('bfloat16'), 1)):
        sides[side] = dict(
            run=jobs.decode(pair, bench.dims, 1, tokens, new)[job],
            without=jobs.decode(pair, bench.dims, 1, tokens, 1)[job])
    timed = bench.time(sides)
    values = {
        side: rate(found['run'].minus(found['without']), new - 1)
        for side, found in timed.items()
    }
    step = bench.limits('bfloat16', weight_bytes).step(1, tokens + new / 2)
    limit = limit_rate(Limit((new - 1) * step.seconds, step.by), new - 1)
    summarize(record, values.pop('ours'), values, *limit)
    yield bench.finish(record, goals)
