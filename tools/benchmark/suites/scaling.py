# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""How time and memory grow: a slope of 1 is time in step with the work."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from .. import jobs
from ..bench import Bench, Case
from ..inputs import make_images, make_samples, make_text
from ..memory import resident_bytes
from ..multi_turn import MultiTurn
from ..records import Record
from . import common

# Of an answer wherever its length is not what grows.
SHORT = 8


def cases(bench: Bench) -> list[Case]:
    """One case for each thing that grows."""
    return [
        Case('images', lambda: [_images(bench)]),
        Case('batch', lambda: [_batch(bench)]),
        Case('length', lambda: [_length(bench)]),
        Case('images in a prompt', lambda: [_images_in_a_prompt(bench)]),
        Case('turns', lambda: [turns(bench)]),
        Case('memory', lambda: [_memory(bench)]),
    ]


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """The exponent k of the best y = c * x ** k (least squares of logs)."""
    a, b = [math.log(v) for v in x], [math.log(v) for v in y]
    mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
    return (sum((u - mean_a) * (v - mean_b) for u, v in zip(
        a, b, strict=True)) / sum((u - mean_a)**2 for u in a))


def _dtype(bench: Bench) -> str:
    return 'bfloat16' if bench.device.type == 'cuda' else 'float32'


def _grow(bench: Bench, record: Record, xs: Sequence[int],
          jobs_of: Callable[[int], dict], goals: dict | None = None
          ) -> Record:
    """Time each point, all points in each round, and fit the slope."""
    sides: dict[str, dict] = {}
    for x in xs:
        for side, job in jobs_of(x).items():
            sides.setdefault(side, {})[x] = job
    timed = bench.time(sides)
    record.curve = dict(x=list(xs), unit='s')
    for side, found in timed.items():
        record.curve[side] = [found[x].median for x in xs]
    record.value = slope(xs, record.curve['ours'])
    record.rounds = len(timed['ours'][xs[0]].values)
    record.spread = max(x.spread for x in timed['ours'].values())
    record.settings.setdefault('dtype', _dtype(bench))
    return bench.finish(record, goals)


def _images(bench: Bench) -> Record:
    """Captions of more and more images, in batches of the same size."""
    rows = 4
    model = bench.pair(_dtype(bench)).ours
    samples = make_samples(model, rows, common.prompt_length(bench))

    def job(images):
        def run():
            for start in range(0, images, rows):
                model(
                    make_images(bench.dims, rows, bench.device, start + 1),
                    samples, mode='predict', max_new_tokens=SHORT)
        return dict(ours=run)

    return _grow(
        bench,
        Record('scaling', 'time over images', 'slope', 'near',
               settings=dict(batch=rows, new_tokens=SHORT)),
        (4, 8, 16) if bench.quick else (4, 8, 16, 32, 64, 128), job,
        dict(near=[0.98, 1.02]))


def _batch(bench: Bench) -> Record:
    """Seconds of one call over its batch."""
    pair, tokens = bench.pair(_dtype(bench)), common.prompt_length(bench)

    def job(rows):
        return dict(zip(('ours', 'P1'), jobs.caption(
            pair, bench.dims, rows, tokens, SHORT), strict=True))

    return _grow(
        bench,
        Record('scaling', 'time over batch', 'slope', 'lower',
               settings=dict(prompt=tokens, new_tokens=SHORT)),
        (1, 2, 4) if bench.quick else (1, 2, 4, 8, 16), job)


def _length(bench: Bench) -> Record:
    """Seconds of one caption over its length."""
    pair, tokens = bench.pair(_dtype(bench)), common.prompt_length(bench)

    def job(new):
        return dict(zip(('ours', 'P1'), jobs.caption(
            pair, bench.dims, 1, tokens, new), strict=True))

    return _grow(
        bench,
        Record('scaling', 'time over new tokens', 'slope', 'lower',
               settings=dict(batch=1, prompt=tokens)),
        (8, 16, 32) if bench.quick else (8, 16, 32, 64, 128, 256), job)


def _images_in_a_prompt(bench: Bench) -> Record:
    """Seconds of one answer over the images that its prompt holds."""
    model = bench.pair(_dtype(bench)).ours

    def job(number):
        sample = dict(prompt=make_text(8))
        # float[1, n, 3, H, W]
        images = make_images(bench.dims, number, bench.device).unsqueeze(0)

        def run():
            with torch.no_grad():
                feats = model(images, mode='tensor')
            model.head.answerer.generate(feats, [sample], max_new_tokens=SHORT)

        return dict(ours=run)

    return _grow(
        bench,
        Record('scaling', 'time over images in a prompt', 'slope', 'lower',
               settings=dict(batch=1, new_tokens=SHORT)),
        (1, 2) if bench.quick else (1, 2, 4, 8), job)


def turns(bench: Bench, suite: str = 'scaling',
          dtype: str | None = None) -> Record:
    """What the last turn of a chat costs, over what the first costs."""
    dtype = dtype or _dtype(bench)
    model = bench.pair(dtype).ours
    number = 4 if bench.quick else 20
    words = 6

    def chat(seed: int) -> list[float]:
        """Seconds of each turn of a chat about one image."""
        images = make_images(bench.dims, 1, bench.device, seed)
        talk, taken = MultiTurn(model, words, SHORT), []
        for _ in range(number):
            taken.append(bench.clock.time(lambda: talk.ask(images)))
        bench.ticked()
        return taken

    chat(0)
    rounds = [chat(i) for i in range(1, 3 if bench.quick else 6)]
    middle = [sorted(x)[len(x) // 2] for x in zip(*rounds, strict=True)]
    record = Record(
        suite, f'turn {number} of a chat over the first', 'times', 'lower',
        value=middle[-1] / middle[0],
        rounds=len(rounds),
        curve=dict(x=list(range(1, number + 1)), unit='s', ours=middle),
        settings=dict(dtype=dtype, words=words, new_tokens=SHORT),
        note='the first turn encodes the image, the later ones do not')
    return bench.finish(record, dict(value=1.2))


def _memory(bench: Bench) -> Record:
    """Resident memory over many captions: a leak would show."""
    model = bench.pair(_dtype(bench)).ours
    total = 64 if bench.quick else bench.settings.captions
    rows = 8
    samples = make_samples(model, rows, common.prompt_length(bench))
    x, held, done = [], [], 0
    # The first batches fill what allocators keep.
    while done < total + 4 * rows:
        model(make_images(bench.dims, rows, bench.device, done + 1), samples,
              mode='predict', max_new_tokens=2)
        done += rows
        if done > 4 * rows and (done // rows) % max(
                1, total // rows // 16) == 0:
            x.append(done - 4 * rows)
            held.append(resident_bytes(bench.device))
        bench.ticked()
    return bench.finish(
        Record('scaling', f'memory over {total} captions', 'slope', 'near',
               value=slope(x, held),
               rounds=1,
               curve=dict(x=x, unit='bytes', ours=held),
               settings=dict(dtype=_dtype(bench), batch=rows)),
        dict(near=[-1.0, 0.02]))
