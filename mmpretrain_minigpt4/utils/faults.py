# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a file: counted, listed, refused past a budget."""

import logging
import os
from collections.abc import Iterable
from pathlib import Path

from mmengine.logging import print_log

from ..errors import ConfigError, DatasetError

SHOWN = 5


class Faults:
    """The faults found in one file.

    Args:
        where: The file, as a message shall call it.
        budget: Up to this many faults are logged and left out; one more
            and the file is refused.
        fix: What to do about them.
    """

    def __init__(self, where: str, budget: int = 0, fix: str = '') -> None:
        self.where = where
        self.budget = budget
        self.fix = fix
        self.kinds: dict[str, list[str]] = {}

    def add(self, kind: str, item: object) -> None:
        """Note a fault of a kind (``missing image``) and whose it is."""
        self.kinds.setdefault(kind, []).append(str(item))

    def __len__(self) -> int:
        return sum(len(items) for items in self.kinds.values())

    def __str__(self) -> str:
        lines = []
        for kind, items in self.kinds.items():
            rest = len(items) - SHOWN
            more = f' and {rest:,} more' if rest > 0 else ''
            lines.append(f'  {kind}: {len(items):,} '
                         f'({", ".join(items[:SHOWN])}{more})')
        return '\n'.join(lines)

    def raise_if_over_budget(self) -> None:
        """Log the faults, or refuse the file.

        Raises:
            DatasetError: If there are more than the budget allows.
        """
        if not self.kinds:
            return
        text = f'{self.where} has {len(self):,} faults:\n{self}\n'
        if len(self) > self.budget:
            raise DatasetError(
                f'{text}{self.fix or "Fix the file"}, or raise max_faults '
                f'(now {self.budget:,}) to leave them out.')
        print_log(
            f'{text}They are left out, as max_faults={self.budget:,} allows; '
            'scores do not count them.',
            logger='current',
            level=logging.WARNING)


def check_writable(path: str | os.PathLike, what: str) -> None:
    """See to it that a file can be written when hours of work are done.

    Nothing is made: neither the file nor its folder.

    Args:
        path: The file.
        what: What a message calls it, such as an option.

    Raises:
        ConfigError: If it cannot be written.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise IsADirectoryError('it is a folder; name a file')
        folder = next(x for x in path.absolute().parents
                      if os.path.lexists(x))
        if not folder.is_dir():
            raise NotADirectoryError(f'{folder} is no folder')
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(f'{folder} cannot be written to')
    except OSError as error:
        raise ConfigError(f'{what} {str(path)!r}: {error.strerror or error}. '
                          'Name another place.') from error


def append_lines(path: Path, lines: Iterable[str]) -> None:
    """Add whole lines to a file whose last one a kill may have cut short.

    What was cut stays a line of its own, so that no new line is spoilt.
    """
    with path.open('ab+') as file:
        size = file.seek(0, 2)
        if size:
            file.seek(size - 1)
            if file.read(1) != b'\n':
                file.write(b'\n')
        file.write(''.join(f'{line}\n' for line in lines).encode('utf-8'))
