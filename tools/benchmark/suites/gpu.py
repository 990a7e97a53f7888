# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The H100 table in one run: ceilings, equality, then the rows.

The rows that matter most come first, so that a run that is cut short has
them. On a CPU with small dims it tries the way and measures nothing of worth.
"""

from __future__ import annotations

import functools

from .. import jobs
from ..bench import Bench, Case
from ..ragged import RaggedCaptions, draw_lengths
from ..records import Record
from . import ablations, common, memory, scaling

# Goals of the 7B model on one H100.
IMAGES = {8: 22, 32: 62, 128: 120, 256: 145}


def cases(bench: Bench) -> list[Case]:
    """The rows; goals are those of the 7B model on a GPU."""
    cuda = bench.device.type == 'cuda'
    aimed = cuda and bench.dims.name == '7b'
    few = bench.quick or not cuda
    new = 9 if few else 65
    rounds = 3 if few else 5

    def goal(**goals) -> dict:
        return goals if aimed else {}

    def row(name, run, *args, **kwargs) -> Case:
        return Case(name, lambda: [
            run(bench, 'gpu', *args, dtype='bfloat16', **kwargs)])

    batches = (1, 2) if few else (128, 32, 8, 256, 1)
    trained = (2, ) if few else (256, 64)
    found = [
        Case('cold start', lambda: [ablations.cold_start(bench, new)]),
        row('decode 1', common.decoding, 1, new,
            goals=goal(value=200, P1=3.0, P2=1.1)),
        row('first token', common.first_token, goals=goal(value=9.0)),
    ]
    found += [
        row(f'caption {rows}', common.captioning, rows, new - 1,
            rounds=rounds, goals=goal(value=IMAGES[rows], P1=2.0)
            if rows in IMAGES else {}) for rows in batches
    ]
    found += [
        row(f'stage 1, {rows}', common.training, 'stage 1', rows,
            rounds=rounds, goals=goal(value=300) if rows == 256 else {})
        for rows in trained
    ]
    found += [
        Case('ablations 1', lambda: ablations.decoding(
            bench, 1, new, rounds)),
        Case('ragged', lambda: [_ragged(bench, few, goal(P1=3.0))]),
        # 7 ms a step of 8 rows.
        row('beams', common.decoding, 2 if few else 8, new, num_beams=5,
            goals=goal(value=8 / 0.007)),
        # 4,800 pairs in 50 seconds.
        row('stage 2', common.training, 'stage 2', 2 if few else 64,
            rounds=rounds, goals=goal(value=4800 / 50)),
        row('stage 1, features kept', common.training, 'stage 1',
            trained[0], rounds=rounds, cached=True),
        Case('vision', lambda: [_vision(bench, 2 if few else 128)]),
        Case('memory of captions', lambda: memory.captions(
            bench, 2 if few else 128, new - 1, 'gpu', 'bfloat16')),
        Case('memory of training', lambda: memory.training(
            bench, trained[0], 'gpu', goal(value=70e9 / 2**20), 'bfloat16')),
        Case('turns', lambda: [scaling.turns(bench, 'gpu', 'bfloat16')]),
        Case('ablations, many rows', lambda: ablations.decoding(
            bench, 2 if few else 32, new, rounds)),
        Case('loader', lambda: [ablations.loading(
            bench, *((2, 6) if few else (128, 384)), new - 1, rounds)]),
    ]
    many = 2 if few else 32
    found += [
        Case(f'{name}, {rows}', functools.partial(
            ablations.quantized, bench, name, rows, new, rounds, goals))
        for name, rows, goals in (
            ('fp8', 1, goal(value=340)), ('int4', 1, goal(value=450)),
            ('int8', 1, goal(value=340)), ('fp8', many, {}),
            ('int8-dynamic', 1, {}))
        if cuda or name != 'fp8'
    ]
    return found


def _vision(bench: Bench, rows: int) -> Record:
    ours, peer = jobs.encode(bench.pair('bfloat16'), bench.dims, rows)
    return bench.measure(
        Record(
            'gpu', f'vision, batch {rows}', 'images/s',
            settings=dict(dtype='bfloat16', batch=rows)),
        dict(ours=dict(run=ours), P1=dict(run=peer)),
        rows,
        bench.limits('bfloat16').vision(rows))


def _ragged(bench: Bench, few: bool, goals: dict) -> Record:
    slots, number = (4, 12) if few else (128, 384)
    lengths = draw_lengths(number, *((8, 24) if few else (80, 300)))
    tokens = common.prompt_length(bench)
    job = RaggedCaptions(bench.pair('bfloat16'), bench.dims, tokens, lengths,
                         slots)
    record = Record(
        'gpu', f'ragged captions, {slots} slots', 'tokens/s',
        settings=dict(dtype='bfloat16', slots=slots, captions=number,
                      prompt=tokens, mean=sum(lengths) / number,
                      longest=max(lengths)))
    limits = bench.limits('bfloat16')
    # Full slots at every step, and each prompt read once.
    mean = sum(lengths) / number
    step = limits.step(slots, tokens + mean / 2)
    read = limits.prefill(slots, tokens)
    limit = type(step)(step.seconds * sum(lengths) / slots +
                       read.seconds * number / slots, step.by)
    bench.measure(
        record, dict(ours=dict(run=job.ours), P1=dict(run=job.peer)),
        sum(lengths), limit, goals, rounds=2)
    record.settings['occupancy'] = job.occupancy
    if goals:
        record.goal['occupancy'] = 0.9
        record.goal['met'] = (record.goal['met'] and job.occupancy >= 0.9)
    return record
