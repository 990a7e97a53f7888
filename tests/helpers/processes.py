# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Fork processes that use torch without ever hanging the tests."""

import os
import pickle
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.backends.backend_agg  # noqa: F401 (before the fork)
import pytest
import torch

from mmpretrain_minigpt4.cli.exit_codes import run_command

# A fork of a process that uses a GPU cannot; test_torchrun.py starts anew.
needs_forks = pytest.mark.skipif(
    torch.cuda.is_available(),
    reason='forks processes of CPUs: set CUDA_VISIBLE_DEVICES=""')


def fork():
    """As ``os.fork``; the child computes in one thread, for two minutes.

    The threads of OpenMP do not live on in a child: one that waits for them
    would wait for ever.
    """
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(120)
    return child


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Attributes:
        code: Its exit code; a signal's number below zero.
        result: What it gave back, None if it came to nothing.
        said: What it wrote to stdout and stderr.
    """
    code: int
    result: Any
    said: str


class Processes:
    """Forks that do a job, connected as torchrun would connect them.

    Nothing is imported anew, so they start in no time.

    Args:
        job: Called with the number of the process.
        folder: For what they say and give back.
        size: How many; one alone is told nothing of others.
        port: At which they meet; by default one that is free.

    Attributes:
        ids: Of the processes.
    """

    def __init__(self, job: Callable[[int], Any], folder: Path,
                 size: int = 2, port: int | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.ids = []
        if port is None:
            with socket.socket() as free:
                free.bind(('127.0.0.1', 0))
                port = free.getsockname()[1]
        for rank in range(size):
            child = fork()
            if child == 0:
                if size > 1:
                    os.environ.update(
                        RANK=str(rank), WORLD_SIZE=str(size),
                        LOCAL_RANK=str(rank), MASTER_ADDR='127.0.0.1',
                        MASTER_PORT=str(port))
                _do(job, folder, rank)
            self.ids.append(child)

    def wait(self) -> list[Ended]:
        """How each of them ended."""
        return [self._wait(*each) for each in enumerate(self.ids)]

    def _wait(self, rank: int, child: int) -> Ended:
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        result = self.folder / f'result{rank}'
        return Ended(
            code,
            pickle.loads(result.read_bytes()) if result.exists() else None,
            (self.folder / f'said{rank}').read_text())


def together(job: Callable[[int], Any], folder: Path,
             port: int | None = None) -> list[Ended]:
    """Let two processes do a job, and wait for them."""
    return Processes(job, folder, port=port).wait()


def results(ended: list[Ended]) -> list[Any]:
    """What all gave back, if all went well."""
    for each in ended:
        assert each.code == 0, each.said[-3000:]
    return [each.result for each in ended]


def _do(job: Callable[[int], Any], folder: Path, rank: int) -> None:
    code = 99
    try:
        said = os.open(folder / f'said{rank}',
                       os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(said, 1)
        os.dup2(said, 2)
        sys.stdout = os.fdopen(1, 'w', buffering=1, closefd=False)
        sys.stderr = os.fdopen(2, 'w', buffering=1, closefd=False)

        def run():
            content = pickle.dumps(job(rank))
            (folder / f'result{rank}').write_bytes(content)

        code = run_command(run, f'process {rank}')
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)
