# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Recordings of a function, one for each set of shapes, as CUDA graphs.

A small batch on a GPU waits for Python, which starts hundreds of kernels one
by one; a graph starts them all at once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager

import torch

WARM_UPS = 2


class CUDAGraphRunner:
    """Calls a function, by replaying a recording of it where that is on.

    Args:
        function: Reads and changes tensors that stay where they are, and
            gives a tensor.
        idle: Within it a call of the function changes nothing; warming up
            and recording are done there.
        on: Whether to record at all.
        what: Is done by it, for a warning.
    """

    def __init__(self, function: Callable[..., torch.Tensor],
                 idle: Callable[[], AbstractContextManager],
                 on: bool = True,
                 what: str = 'Decoding') -> None:
        self.function, self.idle, self.on = function, idle, on
        self.what = what
        # How many recordings were made, and how long that took.
        self.num_graphs, self.capture_seconds = 0, 0.0
        self._graphs: dict[Hashable, tuple[Callable, torch.Tensor]] = {}
        self._pool = None

    def __call__(self, *shapes: Hashable) -> torch.Tensor:
        """What the function gives; the next call may overwrite it."""
        if self.on and shapes not in self._graphs:
            self._capture(shapes)
        if not self.on:
            return self.function(*shapes)
        replay, out = self._graphs[shapes]
        replay()
        return out

    def reset(self) -> None:
        """Drop the recordings, before what they read is moved."""
        self._graphs.clear()
        # PyTorch lets nobody into a pool whose recordings are all gone.
        self._pool = None

    def _capture(self, shapes: tuple) -> None:
        started = time.perf_counter()
        if self._pool is None:
            self._pool = new_pool()
        try:
            with self.idle():
                self._graphs[shapes] = capture(
                    lambda: self.function(*shapes), self._pool)
        except Exception as error:  # whatever a layer or a driver may raise
            self.on = False
            self.reset()
            logging.getLogger(__name__).warning(
                '%s goes on without CUDA graphs, which could not be recorded: '
                '%s. Leave them out by model.head.engine.cuda_graphs=False.',
                self.what, ' '.join(str(error).split())[:300] or repr(error))
            return
        self.num_graphs += 1
        self.capture_seconds += time.perf_counter() - started


def new_pool():
    """Memory that recordings of one device share; they never run at once."""
    return torch.cuda.graph_pool_handle()


def capture(function: Callable[[], torch.Tensor], pool
            ) -> tuple[Callable[[], None], torch.Tensor]:
    """Record a function.

    Args:
        function: Without arguments.
        pool: As of :func:`new_pool`.

    Returns:
        tuple: What replays it, and the tensor that it gives each time.
    """
    # Kernels are built and libraries set up before, beside the stream that
    # others use.
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UPS):
            function()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    # Other threads, such as a loader's that pins memory, may go on.
    with torch.cuda.graph(graph, pool=pool, stream=stream,
                          capture_error_mode='thread_local'):
        out = function()
    return graph.replay, out
