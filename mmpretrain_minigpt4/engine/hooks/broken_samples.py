# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""A list of every sample that a run could not use."""

import json
import logging
import os
from pathlib import Path

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner

from ...datasets.error_budget import read_note
from ...registry import HOOKS
from ...utils.faults import append_lines


@HOOKS.register_module()
class BrokenSamplesHook(Hook):
    """Write ``broken_samples.jsonl`` to the run's folder.

    Data sets skip what they cannot read, up to a budget, and tell so in the
    sample that comes next; this collects it. Each line has ``where`` (the
    file), ``key`` and ``reason``; a fault that is met again is not repeated.
    Each process of a distributed run has a file of its own, with its rank in
    the name from rank 1 on.

    Args:
        filename: The file in the run's ``work_dir``.
    """

    priority = 'NORMAL'

    def __init__(self, filename: str = 'broken_samples.jsonl') -> None:
        self.filename = filename
        self._seen: set[tuple[str, str]] = set()

    def before_train(self, runner: Runner) -> None:
        """Take over what an earlier part of a resumed run has listed.

        The list of a run that is not resumed is set aside.
        """
        path = self.path(runner)
        self._seen.clear()
        if path.is_file() and not runner.iter:
            os.replace(path, path.with_name(path.name + '.old'))
        elif path.is_file():
            for line in path.read_text(encoding='utf-8').splitlines():
                try:
                    fault = json.loads(line)
                    self._seen.add((fault['where'], fault['key']))
                except (ValueError, KeyError, TypeError):
                    continue  # cut short when the run was killed

    def after_train_iter(self,
                         runner: Runner,
                         batch_idx: int,
                         data_batch=None,
                         outputs=None) -> None:
        """Add what was skipped on the way to this batch."""
        samples = data_batch.get('data_samples') if isinstance(
            data_batch, dict) else None
        faults = [
            fault for sample in samples or ()
            for fault in read_note(sample, 'skipped', [])
            if (fault['where'], fault['key']) not in self._seen
        ]
        if not faults:
            return
        append_lines(self.path(runner), map(json.dumps, faults))
        self._seen.update((fault['where'], fault['key']) for fault in faults)

    def after_train(self, runner: Runner) -> None:
        """Say how many there were."""
        if self._seen:
            print_log(
                f'{len(self._seen):,} broken samples were skipped; they are '
                f'listed in {self.path(runner)}.',
                logger='current',
                level=logging.WARNING)

    def path(self, runner: Runner) -> Path:
        """The list of this process."""
        path = Path(runner.work_dir, self.filename)
        rank = get_rank()
        return path.with_stem(f'{path.stem}.{rank}') if rank else path
