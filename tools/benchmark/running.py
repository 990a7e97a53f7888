# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Run suites: each record is written at once, with progress on stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TextIO

import torch

from .bench import Bench, Case, Settings
from .records import Record
from .suites import SUITES
from .toolbox import add_peer


def run_suites(names: Sequence[str], settings: Settings,
               out: TextIO | None = None,
               only: Callable[[str], bool] = lambda name: True,
               toolbox_python: str | None = None) -> list[Record]:
    """Measure, and give all records.

    A row that needs more memory than there is becomes a record with a note;
    the others go on.

    Args:
        names: Of suites.
        settings: What is measured and how.
        out: Gets a JSON line for each record as soon as there is one.
        only: Tells by its name whether a case is run.
        toolbox_python: A Python that P3 runs in; it is asked about the rows
            that both can do.

    Raises:
        BenchmarkError: If the models are not equal, or an answer has
            another length than it should.
    """
    bench = Bench(settings)
    found: list[Record] = []
    cases = [(suite, case) for suite in names
             for case in SUITES[suite](bench) if only(case.name)]
    before = torch.get_num_threads()
    torch.set_num_threads(settings.threads)
    try:
        with _Progress(bench, len(cases) + bool(toolbox_python)
                       ) as advance:
            for suite, case in cases:
                advance(f'{suite}: {case.name}')
                for record in _records(bench, suite, case):
                    found.append(record)
                    _write(record, out)
            if toolbox_python and settings.device.type == 'cpu':
                advance('the toolbox itself')
                for record in add_peer(toolbox_python, settings.dims, found,
                                       settings.threads):
                    _write(record, out)  # once more: the later line counts
    finally:
        torch.set_num_threads(before)
        bench.release()
    return found


def _write(record: Record, out: TextIO | None) -> None:
    if out is not None:
        out.write(record.to_json() + '\n')
        out.flush()


def _records(bench: Bench, suite: str, case: Case) -> Iterator[Record]:
    if bench.out_of_time:
        yield bench.finish(
            Record(suite, case.name, '', note='not begun: out of time'))
        return
    try:
        yield from case.run()
    except torch.OutOfMemoryError as error:
        message = str(error).split('.')[0]
        yield bench.finish(Record(suite, case.name, '', note=message))
        torch.cuda.empty_cache()


class _Progress:
    """A bar on a terminal's stderr; elsewhere a line for each case."""

    def __init__(self, bench: Bench, total: int) -> None:
        from rich.console import Console
        from rich.progress import Progress
        self.console = Console(stderr=True)
        self.bar = Progress(
            *Progress.get_default_columns(), console=self.console,
            redirect_stdout=sys.stdout.isatty(), transient=True,
            disable=not self.console.is_terminal)
        self.task = self.bar.add_task('models', total=total)
        self.total, self.number, self.rounds = total, 0, 0
        self.name = ''
        bench.ticked = self._tick

    def __enter__(self) -> Callable[[str], None]:
        self.bar.start()
        return self._next

    def __exit__(self, *error) -> None:
        self.bar.stop()

    def _next(self, name: str) -> None:
        self.name, self.rounds = name, 0
        self.bar.update(self.task, completed=self.number, description=name)
        self.number += 1
        if not self.console.is_terminal:
            print(f'[{self.number}/{self.total}] {name}', file=sys.stderr,
                  flush=True)

    def _tick(self) -> None:
        self.rounds += 1
        self.bar.update(
            self.task, description=f'{self.name}, round {self.rounds}')
