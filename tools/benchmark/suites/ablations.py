# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""What each part of the way through a GPU is worth: all on, one off.

Every side is our own model; the peers of these rows are it with one part
switched off.

Legend: B rows, H and W pixels.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch

from mmpretrain_minigpt4.errors import ConfigError
from mmpretrain_minigpt4.generation import Engine, EngineConfig
from mmpretrain_minigpt4.generation.decoder_pool import evict, pooled_decoder
from mmpretrain_minigpt4.llm.quantization.methods import weight_bytes
from mmpretrain_minigpt4.models.data_preprocessor import ImageListPreprocessor
from mmpretrain_minigpt4.ops.linear.merged import unmerge

from .. import equality, jobs
from ..baseline import build_ours
from ..bench import Bench, Pair
from ..clock import Sample
from ..inputs import make_images, make_samples
from ..records import Record
from ..roofline import Limit
from . import common

DTYPE = 'bfloat16'
# Bytes of a weight, as far as the limit goes.
QUANTIZED = {'int8': 1, 'int8-dynamic': 1, 'fp8': 1, 'int4': 0.5}


def cold_start(bench: Bench, new: int) -> Record:
    """The first answer of a process, kernels and recordings with it."""
    pair, tokens = bench.pair(DTYPE), common.prompt_length(bench)
    job, _ = jobs.decode(pair, bench.dims, 1, tokens, new)
    evict(pair.ours.head.llm)

    def seconds() -> float:
        started = time.perf_counter()
        job()
        if bench.device.type == 'cuda':
            torch.cuda.synchronize()
        return time.perf_counter() - started

    record = Record(
        'gpu', 'first answer of a process', 's', 'lower', rounds=1,
        settings=dict(dtype=DTYPE, batch=1, prompt=tokens, new_tokens=new))
    record.value = seconds()
    record.settings['later_seconds'] = Sample(
        tuple(seconds() for _ in range(3))).median
    decoder = pooled_decoder(pair.ours.head.llm)
    if decoder is not None:
        record.settings.update(recordings=decoder.graph_runner.num_graphs,
                               recording_seconds=decoder.graph_runner.capture_seconds)
    return bench.finish(record)


def decoding(bench: Bench, rows: int, new: int, rounds: int
             ) -> Iterator[Record]:
    """Tokens a second with all on, beside one part off; a row for each."""
    pair, tokens = bench.pair(DTYPE), common.prompt_length(bench)
    head = pair.ours.head
    evict(head.llm)
    samples = make_samples(pair.ours, rows, tokens)
    with torch.no_grad():
        visual = pair.ours(
            make_images(bench.dims, rows, bench.device), mode='tensor')
    # On a CPU steps are static when it is asked for only.
    settings = EngineConfig(cuda_graphs=True, enable_prefix_caching=False)
    off = {
        'graphs': dict(cuda_graphs=False), 'kernels': dict(kernels=False),
        'joined weights': {}, 'lag': dict(async_steps=0), 'ours': {}
    }
    whole = bench.measure(
        Record('gpu', f'decode, batch {rows}', 'tokens/s',
               settings=dict(dtype=DTYPE, batch=rows, prompt=tokens,
                             new_tokens=new)),
        {
            part: _jobs(
                head, visual, samples, new, replace(settings, **changes),
                unmerge if part == 'joined weights' else
                contextlib.nullcontext) for part, changes in off.items()
        },
        rows * (new - 1),
        _steps(bench, rows, tokens, new),
        rounds=rounds)
    for part, off in whole.peers.items():
        yield replace(whole, row=f'{whole.row}, {part}', peers=dict(off=off))


def _jobs(head, visual: torch.Tensor, samples: list, new: int,
          settings: EngineConfig, within: Callable) -> dict:
    # Kept, as between the calls of one setting.
    engine = Engine(head.llm, len(samples), 1, head.context, settings)

    def job(number: int) -> Callable[[], None]:
        asked = [
            head.answerer.request(
                tokens[None], sample,
                head.generation.replace(max_new_tokens=number))._replace(tag=i)
            for i, (tokens,
                    sample) in enumerate(zip(visual, samples, strict=True))
        ]

        def run() -> None:
            with torch.no_grad(), within(head.llm):
                jobs.check_lengths([
                    len(event.answer.token_ids)
                    for event in engine.run(asked) if event.answer], number)

        return run

    return dict(run=job(new), without=job(1))


def loading(bench: Bench,
            max_num_seqs: int,
            number: int,
            new: int,
            rounds: int,
            goals: dict | None = None) -> Record:
    """Images a second from pixels on the host, batch after batch."""
    model, tokens = bench.pair(DTYPE).ours, common.prompt_length(bench)
    samples = make_samples(model, number, tokens)
    pixels = torch.randint(
        0, 256, (number, 3, bench.dims.img_size, bench.dims.img_size),
        dtype=torch.uint8, generator=torch.Generator().manual_seed(0))

    def job(prefetch_images: bool) -> Callable[[], None]:

        def run() -> None:
            with _as_loaded(model, prefetch_images):
                batches = (dict(inputs=pixels[i:i + max_num_seqs],
                                data_samples=samples[i:i + max_num_seqs])
                           for i in range(0, number, max_num_seqs))
                done = sum(error is None for _, error in model.generate_stream(
                    batches, max_num_seqs, max_new_tokens=new))
                jobs.check_lengths([done], number)

        return run

    whole = bench.limits(DTYPE).caption(max_num_seqs, tokens, new)
    return bench.measure(
        Record('gpu',
               f'captions of a loader, {max_num_seqs} slots, looking ahead',
               'images/s',
               settings=dict(dtype=DTYPE,
                             max_num_seqs=max_num_seqs,
                             captions=number,
                             prompt=tokens,
                             new_tokens=new)),
        dict(ours=dict(run=job(True)), off=dict(run=job(False))),
        number,
        Limit(whole.seconds * number / max_num_seqs, whole.by),
        goals,
        rounds=rounds)


@contextlib.contextmanager
def _as_loaded(model: torch.nn.Module,
               prefetch_images: bool) -> Iterator[None]:
    """Let the model read bytes, and look ahead or not."""
    before = model.data_preprocessor, model.head.engine
    model.data_preprocessor = ImageListPreprocessor(
        (122.8, 116.7, 104.1), (68.5, 66.6, 70.3), non_blocking=True).to(
            model.device)
    model.head.engine = replace(before[1], prefetch_images=prefetch_images)
    try:
        yield
    finally:
        model.data_preprocessor, model.head.engine = before


def quantized(bench: Bench, name: str, rows: int, new: int, rounds: int,
              goals: dict | None = None) -> Iterator[Record]:
    """Decoding with fewer bits, beside the same weights in bfloat16."""
    exact, tokens = bench.pair(DTYPE), common.prompt_length(bench)
    evict(exact.ours.head.llm)
    record = Record(
        'gpu', f'decode, batch {rows}, {name}', 'tokens/s',
        settings=dict(dtype=DTYPE, batch=rows, prompt=tokens, new_tokens=new,
                      quantization=name))
    try:
        ours = build_ours(bench.dims, DTYPE, bench.device, quantization=name)
    except ConfigError as error:  # a library or a GPU that is not there
        record.note = str(error)[:300]
        yield bench.finish(record)
        return
    pair = Pair(ours, exact.peer)
    found = equality.compare(ours, exact.peer, bench.dims)
    record.settings['distance'] = {
        key: found[key] for key in ('logits', 'loss')}
    record.settings['llm_MiB'] = weight_bytes(ours.head.llm) / 2**20
    sides = {
        side: dict(run=jobs.decode(of, bench.dims, rows, tokens, new)[0],
                   without=jobs.decode(of, bench.dims, rows, tokens, 1)[0])
        for side, of in (('ours', pair), (DTYPE, exact))
    }
    yield bench.measure(
        record, sides, rows * (new - 1),
        _steps(bench, rows, tokens, new, QUANTIZED[name]), goals, rounds)


def _steps(bench: Bench, rows: int, tokens: int, new: int,
           size: float | None = None) -> Limit:
    step = bench.limits(DTYPE, size).step(rows, tokens + new / 2)
    return Limit((new - 1) * step.seconds, step.by)
