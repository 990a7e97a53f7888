# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""What the command line prints: answers to stdout, all else to stderr."""

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any, TextIO

from .exit_codes import one_line

# What could move the cursor or colour a terminal: a file may be called so,
# and a model may write it. Tabs and line breaks are among them.
_CONTROLS = dict.fromkeys([*range(32), *range(127, 160)], ' ')


def plain(text: str) -> str:
    """Put text into one line without control characters."""
    return ' '.join(text.translate(_CONTROLS).split())


class Answers:
    """Writes answers, one line each, as text or as JSON.

    As text, one image gives the answer alone, several give the image, a tab
    and the answer. Line breaks in an answer become spaces, so that a line is
    an answer. Failed images go to stderr; as JSON they are a line as well,
    so that nothing is lost from the file.

    Args:
        stream: Where answers go.
        as_json: JSON lines rather than text.
        named: Put the image's name before the text.
        program: The name that error lines start with.
        **common: Fields that every JSON line carries.
    """

    def __init__(self,
                 stream: TextIO,
                 as_json: bool = False,
                 named: bool = False,
                 program: str = 'minigpt4',
                 **common: Any) -> None:
        self.stream = stream
        self.as_json = as_json
        self.named = named
        self.program = program
        self.common = common
        self.failed = 0

    def answer(self, name: str, key: str, text: str) -> None:
        """Write one answer; ``key`` is its field in JSON."""
        if self.as_json:
            self._json(image=name, **self.common, **{key: text}, error=None)
        else:
            text = plain(text)
            if self.named:
                text = f'{name.translate(_CONTROLS)}\t{text}'
            self._line(text)

    def fail(self, name: str, key: str, error: Exception) -> None:
        """Report an image that has no answer."""
        self.failed += 1
        message = plain(one_line(error))
        print(f'{self.program}: {message}', file=sys.stderr)
        if self.as_json:
            self._json(
                image=name, **self.common, **{key: None}, error=message)

    def _json(self, **fields: Any) -> None:
        # ASCII only: no terminal or locale can fail on it, and a lone
        # surrogate of an odd file name survives.
        self._line(json.dumps(fields))

    def _line(self, text: str) -> None:
        encoding = self.stream.encoding or 'utf-8'
        text = text.encode(encoding, 'replace').decode(encoding)
        self.stream.write(f'{text}\n')
        self.stream.flush()


@contextlib.contextmanager
def progress(total: int, what: str) -> Iterator[Callable[[int], None]]:
    """Show a bar on stderr if that is a terminal and there is a wait.

    Yields:
        A function that takes the number of images done since the last call.
    """
    if total < 2 or not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress
    # Answers that go to the same terminal are printed above the bar; answers
    # that go to a file or a pipe must not be taken there.
    bar = Progress(
        *Progress.get_default_columns(),
        MofNCompleteColumn(),
        console=Console(stderr=True),
        redirect_stdout=sys.stdout.isatty(),
        transient=True)
    with bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.advance(task, done)
