# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""How much of a data set may be broken before a run must stop.

Large collections always hold some broken images. One must not end a run of
days, and none may vanish silently: each is named, counted, and past a share
the run stops.
"""

import logging
from dataclasses import asdict, dataclass
from typing import Any

from mmengine.logging import print_log

from ..errors import ConfigError, DatasetError

SHOWN = 5  # the last faults that the final error repeats


@dataclass(frozen=True)
class Broken:
    """Something that could not be used, and why.

    Attributes:
        where: The file: a shard, an image, or an annotation file.
        key: The sample in it; empty for a whole file.
        reason: One sentence.
    """
    where: str
    key: str
    reason: str

    def __str__(self) -> str:
        key = f' [{self.key}]' if self.key else ''
        return f'{self.where}{key}: {self.reason}'

    def as_dict(self) -> dict[str, str]:
        """Plain types, for a log and for a data sample."""
        return asdict(self)


class ErrorBudget:
    """Counts what was read and what was broken, and stops past a share.

    Args:
        max_share: The share of samples that may be broken, 0 to 1.
        min_read: The share is taken of at least this many samples, so that
            one broken sample among the first two does not end a run.

    Raises:
        ConfigError: If an argument is out of range.
    """

    def __init__(self, max_share: float = 0.2, min_read: int = 100) -> None:
        if not 0 <= max_share <= 1:
            raise ConfigError('max_broken_share must be between 0 and 1, got '
                              f'{max_share}.')
        if min_read < 1:
            raise ConfigError(f'min_read must be at least 1, got {min_read}.')
        self.max_share = max_share
        self.min_read = min_read
        self.read = 0
        self.broken = 0
        self._last: list[str] = []

    def ok(self) -> None:
        """Count a sample that could be used."""
        self.read += 1

    def spend(self, fault: Broken) -> None:
        """Count and log what could not be used.

        Raises:
            DatasetError: If that is more than the budget.
        """
        self.read += 1
        self.broken += 1
        self._last = [*self._last[1 - SHOWN:], str(fault)]
        print_log(f'Skipped a broken sample: {fault}', logger='current',
                  level=logging.WARNING)
        if self.broken > self.max_share * max(self.read, self.min_read):
            self.stop()

    def stop(self) -> None:
        """End the run with what is known.

        Raises:
            DatasetError: Always.
        """
        shown = '; '.join(self._last) or 'none was named'
        raise DatasetError(
            f'{self.broken:,} of {self.read:,} samples read so far are '
            f'broken, more than the share of {self.max_share:g} that '
            f'max_broken_share allows. The last: {shown}. Mend the data '
            '(`minigpt4 data check CONFIG` lists all faults) or raise '
            'max_broken_share.')

    def state_dict(self) -> dict[str, int]:
        """The counts, as plain numbers."""
        return dict(read=self.read, broken=self.broken)

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from earlier counts."""
        self.read = int(state['read'])
        self.broken = int(state['broken'])


def annotate(item: Any, **notes: Any) -> Any:
    """Write notes into what a pipeline gave.

    Args:
        item: A dict; with ``data_samples`` in it, that sample's meta
            information gets the notes, otherwise the dict itself.
        notes: Plain values, such as the faults that were skipped on the way.
    """
    sample = item.get('data_samples') if isinstance(item, dict) else None
    if sample is not None:
        sample.set_metainfo(notes)
    elif isinstance(item, dict):
        item.update(notes)
    return item


def read_note(sample: Any, name: str, default: Any = None) -> Any:
    """Read a note of :func:`annotate` from a data sample or a dict."""
    value = sample.get(name) if hasattr(sample, 'get') else None
    return default if value is None else value
