# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""A bar on the terminal, with the images per second and the time left."""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mmengine.dist import is_main_process
from mmengine.logging import MMLogger


@contextmanager
def progress(what: str, total: int, done: int = 0
             ) -> Iterator[Callable[[int], None]]:
    """Show a bar on stderr, if that is a terminal.

    Args:
        what: What is counted.
        total: How many there are.
        done: How many were done before; they do not count for the speed.

    Yields:
        A function that takes how many more were done.
    """
    if not sys.stderr.isatty() or not is_main_process():
        yield lambda more: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )
    bar = Progress(
        TextColumn('{task.description}'),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn('{task.fields[rate]}'),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        redirect_stdout=sys.stdout.isatty())
    with bar, _above(bar):
        task = bar.add_task(what, total=total, completed=done, rate='')

        def advance(more: int) -> None:
            bar.advance(task, more)
            speed = bar.tasks[0].speed
            if speed:
                bar.update(task, rate=f'{speed:.1f} images/s')

        yield advance


@contextmanager
def _above(bar) -> Iterator[None]:
    """Print the log's lines above the bar, where they go to a terminal."""
    moved = []
    for logger in MMLogger._instance_dict.values():
        for handler in logger.handlers:
            stream = getattr(handler, 'stream', None)
            if (type(handler) is logging.StreamHandler
                    and stream in (sys.__stdout__, sys.__stderr__)
                    and stream.isatty()):
                # Within the bar's context these are its own.
                handler.setStream(sys.stderr)
                moved.append((handler, stream))
    try:
        yield
    finally:
        for handler, stream in moved:
            handler.setStream(stream)
