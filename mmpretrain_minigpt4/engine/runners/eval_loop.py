# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Test runs whose answers outlive them, and that go on when called again."""

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import (
    all_gather_object,
    broadcast_object_list,
    get_rank,
    get_world_size,
)
from mmengine.evaluator import Evaluator
from mmengine.logging import print_log
from mmengine.runner import Runner, TestLoop
from torch import nn
from torch.utils.data import DataLoader

from ...benchmarks import read_benchmark
from ...errors import ConfigError, GenerationError, MiniGPT4Error, PromptError
from ...evaluation.runs import (
    PredictionLog,
    fingerprint,
    make_summary,
    read_settings,
    score,
    to_record,
    write_json,
    write_report,
)
from ...evaluation.runs.prediction_log import INDEX
from ...evaluation.runs.report import SHOWN
from ...evaluation.runs.scoring import per_sample_results
from ...registry import LOOPS
from ...utils.faults import Faults
from ...utils.progress import progress
from ..checkpointing.run_state import unwrapped
from ..distributed.lockstep import is_sharded, lockstep
from .indexed_dataset import batch_size, describe, indexed_loader, singles


def generate_samples(model: nn.Module, batches: Iterable[dict],
                     max_num_seqs: int | None = None) -> Iterator[Any]:
    """Answer batches; gives finished samples, one at a time, in any order.

    A sample that cannot be answered comes with ``failed``, the reason.

    Args:
        model: The model.
        batches: Collated samples, each with its ``sample_index``.
        max_num_seqs: Samples that are answered at a time.
    """
    whole = unwrapped(model)
    if hasattr(whole, 'generate_stream'):
        for sample, error in whole.generate_stream(batches, max_num_seqs):
            if error is not None:
                sample.set_metainfo(dict(failed=describe(error)))
            yield sample
        return
    for batch in batches:
        try:
            samples = model.test_step(batch)
        except (PromptError, GenerationError) as error:
            if len(batch['data_samples']) > 1:
                # One of them is to blame; the others get their answers.
                yield from generate_samples(model, singles(batch))
                continue
            samples = batch['data_samples']
            samples[0].set_metainfo(dict(failed=describe(error)))
        yield from samples


@LOOPS.register_module()
class EvalLoop(TestLoop):
    """Answers every sample once, keeps each answer, and scores them all.

    Answers are appended to a file as they come. A run that was killed goes
    on where it stopped when it is called again, with any number of
    processes; it is refused if prompt, decoding, weights or data are not the
    same. At the end the file holds all answers in order; beside it lie a
    summary (``.json``) and a report (``.html``).

    Samples are dealt out by this loop: the loader's sampler is not asked.

    Args:
        runner: The runner.
        dataloader: The test data.
        evaluator: The metrics.
        fp16: Whether answers are computed under autocast.
        out: The file of answers, ``.jsonl``. By default ``answers.jsonl`` in
            the work dir; a finished run there is started over, one with a
            name of its own is scored once more.
        fresh: Start over, whatever is there.
        limit: Take only the first so many samples.
        max_faults: Refuse to score with more samples than that without an
            answer (an image that cannot be read, a prompt that is too long).
        report: At most so many samples in the report; 0 for no report.

    Raises:
        ConfigError: If the data has no length, or an argument no meaning.
    """

    # For pytest: no class of tests.
    __test__ = False

    def __init__(self,
                 runner: Runner,
                 dataloader: DataLoader | dict,
                 evaluator: Evaluator | dict | list,
                 fp16: bool = False,
                 out: str | None = None,
                 fresh: bool = False,
                 limit: int | None = None,
                 max_faults: int = 0,
                 report: int = SHOWN) -> None:
        if limit is not None and limit < 1:
            raise ConfigError(f'limit must be at least 1, got {limit}.')
        if max_faults < 0 or report < 0:
            raise ConfigError('max_faults and report must not be negative.')
        if out is not None and not str(out).endswith('.jsonl'):
            raise ConfigError(f'test_cfg.out={out!r}: the name of the answers '
                              'file must end in .jsonl.')
        super().__init__(runner, dataloader, evaluator, fp16)
        self._source = self.dataloader
        if not hasattr(self._source.dataset, '__len__'):
            raise ConfigError('The test data has no length, so that it cannot '
                              "be gone on with: set test_cfg.type='TestLoop'.")
        self.out = Path(out or Path(runner.work_dir) / 'answers.jsonl')
        self.keep_finished = out is not None
        self.fresh = fresh
        self.max_faults = max_faults
        self.report = report
        self.total = len(self._source.dataset)
        self.size = min(self.total, limit or self.total)
        self.summary: dict | None = None
        self._waiting: dict[int, Any] = {}
        self._ready: list[tuple[Any, Any]] = []
        self._group = 0

    @torch.no_grad()
    def run(self) -> dict:
        """Answer what is not answered yet, and score everything.

        Raises:
            DatasetError: If the answers that are there do not belong to this
                run, or too many samples have none.
        """
        runner, rank = self.runner, get_rank()
        runner.model.eval()
        start = time.perf_counter()
        log, known = self._open_log(rank)
        mine = [i for i in range(self.size) if i not in known]
        mine = mine[rank::get_world_size()]
        self.dataloader = indexed_loader(self._source, mine)
        runner.call_hook('before_test')
        runner.call_hook('before_test_epoch')
        begun = time.perf_counter()
        try:
            with progress('Answering', self.size, len(known)) as advance:
                self._answer(log, advance)
            seconds = time.perf_counter() - begun
            for records in all_gather_object(
                    [log.records[i] for i in mine if i in log.records]):
                log.records.update((x['index'], x) for x in records)
            answered = self.size - len(known)
            metrics = self._on_first(lambda: self._finish(log, dict(
                answered_in_this_call=answered,
                processes=get_world_size(),
                seconds=seconds,
                seconds_in_all=time.perf_counter() - start,
                images_per_second=answered / seconds if answered else None)))
        finally:
            log.release()
        runner.call_hook('after_test_epoch', metrics=metrics)
        runner.call_hook('after_test')
        return metrics

    def _open_log(self, rank: int) -> tuple[PredictionLog, set[int]]:
        log = PredictionLog(self.out, {}, self.total, rank)

        def prepare() -> tuple[dict, set[int]]:
            log.settings = read_settings(
                unwrapped(self.runner.model), self._source.dataset,
                self.runner.cfg, self.fp16)
            try:
                log.prepare(self.fresh, self.keep_finished, self.max_faults)
            except BaseException:
                log.release()
                raise
            return log.settings, log.answered()

        if rank and is_sharded(self.runner.model):
            # The first process hashes each weight, which all gather.
            fingerprint(unwrapped(self.runner.model))
        log.settings, known = self._on_first(prepare)
        known = {i for i in known if i < self.size}
        if known:
            print_log(f'{len(known):,} of {self.size:,} samples have their '
                      f'answers in {self.out} already.', logger='current')
        log.open()
        return log, known

    def _answer(self, log: PredictionLog,
                advance: Callable[[int], None]) -> None:
        model = self.runner.model
        device = next(model.parameters()).device.type
        # Others are as fast; the bar is of all.
        step = get_world_size()
        self._waiting.clear()
        self._ready.clear()
        self._group = 0
        with torch.autocast(device, enabled=self.fp16), lockstep(model):
            for sample in generate_samples(
                    model, self._batches(log, advance),
                    batch_size(self._source)):
                record = to_record(sample)
                log.add(record)
                inputs = self._waiting.pop(record['index'])
                if 'failed' not in record:
                    self._ready.append((inputs, sample))
                if len(self._ready) >= batch_size(self._source):
                    self._call_after_iter()
                advance(step)
            if self._ready:
                self._call_after_iter()

    def _batches(self, log: PredictionLog, advance: Callable[[int], None]
                 ) -> Iterator[dict]:
        """Read batches; keep each input until its answer is there."""
        for number, (batch, unreadable) in enumerate(self.dataloader):
            for lost in unreadable:
                log.fail(lost.index, lost.reason)
                advance(get_world_size())
            if batch is None:
                continue
            self.runner.call_hook(
                'before_test_iter', batch_idx=number, data_batch=batch)
            for inputs, sample in zip(
                    batch['inputs'], batch['data_samples'], strict=True):
                self._waiting[sample.get(INDEX)] = inputs
            yield batch

    def _call_after_iter(self) -> None:
        """Hand finished samples on, as many as a batch has."""
        inputs, samples = map(list, zip(*self._ready, strict=True))
        self._ready.clear()
        self.runner.call_hook(
            'after_test_iter',
            batch_idx=self._group,
            data_batch=dict(inputs=inputs, data_samples=samples),
            outputs=samples)
        self._group += 1

    def _finish(self, log: PredictionLog, run: dict) -> dict[str, float]:
        """Check, score, and write everything (process 0)."""
        log.finish(done=False)
        records = [log.records[i] for i in sorted(log.records)
                   if i < self.size]
        faults = Faults(
            f'The run {self.out}', self.max_faults,
            'Fix these samples and call again; only they are answered')
        for record in log.failed():
            faults.add(record['failed'], f'sample {record["index"]}')
        for index in set(range(self.size)) - log.records.keys():
            faults.add('lost', f'sample {index}')
        faults.raise_if_over_budget()
        metrics = score(self.evaluator, [
            {k: v for k, v in x.items() if k != 'index'} for x in records
            if 'failed' not in x])
        found = per_sample_results(self.evaluator)
        config = self.runner.cfg.filename
        notes = {}
        title = Path(config).stem if config else self.runner.experiment_name
        if config and Path(config).is_file():
            notes = read_benchmark(config).notes
        self.summary = make_summary(
            title=title, notes=notes, config=config, metrics=metrics,
            settings=log.settings, records=records, found=found,
            total=self.total, cfg=self.runner.cfg,
            device=next(self.runner.model.parameters()).device,
            seed=self.runner.seed, run=dict(run, answers=str(self.out)))
        write_json(self.out.with_suffix('.json'), self.summary)
        if self.report:
            write_report(
                self.out.with_suffix('.html'), self.summary, records, found,
                self._source.dataset.get_data_info, self.report)
        log.finish(done=True)
        return metrics

    @staticmethod
    def _on_first(job: Callable[[], Any]) -> Any:
        """Do a job in process 0; all get its result, or its error."""
        shared: list[Any] = [None, None]
        if get_rank() == 0:
            try:
                shared[0] = job()
            except MiniGPT4Error as error:
                shared[1] = error
        broadcast_object_list(shared)
        if shared[1] is not None:
            raise shared[1]
        return shared[0]

