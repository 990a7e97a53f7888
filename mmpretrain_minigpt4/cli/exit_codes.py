# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Exit codes, and the one way an error leaves the command line."""

import os
import sys
from collections.abc import Callable

from ..errors import (
    CheckpointError,
    ConfigError,
    DatasetError,
    GenerationError,
    MiniGPT4Error,
    MissingWeightsError,
    PromptError,
    TrainingError,
)

OK = 0
SOME_FAILED = 1
USAGE = 2
NOT_READY = 3
STOPPED = 4
INTERRUPTED = 130

EXIT_CODES = """\
exit codes:
  0    all went well
  1    some inputs failed; the others were answered
  2    the command or one of its values has no meaning
  3    weights, a config or a data set are missing or do not fit
  4    a training run had to stop; its checkpoints are whole
  130  interrupted (Ctrl-C); a training run ends its step and saves first
  143  ended by SIGTERM; a training run ends its step and saves first
"""


# What could move the cursor, colour a terminal or turn text around: a file
# may be called so.
_ESCAPES = {
    code: f'\\x{code:02x}' if code < 256 else f'\\u{code:04x}'
    for code in (*range(32), *range(127, 160), *range(0x2028, 0x202f),
                 *range(0x2066, 0x206a))
}


def escape(text: str) -> str:
    """Spell out what a terminal would not show as text, in one line."""
    text = text.translate(_ESCAPES)
    # A name that is no UTF-8 has lone surrogates.
    return text.encode('utf-8', 'backslashreplace').decode('utf-8')


class UsageError(MiniGPT4Error, ValueError):
    """The command line asks for something that has no meaning."""


def exit_code(error: MiniGPT4Error) -> int:
    """Give the exit code that stands for an error."""
    not_ready = (MissingWeightsError, CheckpointError, ConfigError,
                 DatasetError)
    if isinstance(error, not_ready):
        return NOT_READY
    if isinstance(error, (UsageError, PromptError, GenerationError)):
        return USAGE
    if isinstance(error, TrainingError):
        return STOPPED
    return SOME_FAILED


def one_line(error: BaseException) -> str:
    """Fold an error's message into one line that is safe to print."""
    return escape(' '.join(str(error).split())) or type(error).__name__


def run_command(run: Callable[[], int | None], program: str) -> int:
    """Run a command; a known error ends in one line and an exit code.

    Args:
        run: The command; ``None`` counts as success.
        program: The name that error lines start with.

    Returns:
        The exit code.
    """
    try:
        code = run() or OK
        sys.stdout.flush()
        return code
    except MiniGPT4Error as error:
        print(f'{program}: error: {one_line(error)}', file=sys.stderr)
        return exit_code(error)
    except KeyboardInterrupt:
        print(f'{program}: interrupted', file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (`head`, say) has what it wanted. Python flushes stdout
        # once more at exit, which must not fail in turn.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
