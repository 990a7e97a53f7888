# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Rows of a LLaMA-like model, stepped by recordings of few shapes.

How many rows run and how many entries they see is rounded up to powers of
two, so that a handful of recordings serves all steps. They are made as they
are needed, and made anew when the cache has grown.

Legend: n running rows, w beams of a row, S slots, N entries seen, C entries a
slot has room for, V vocabulary.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from ..ops.cuda_graphs import CUDAGraphRunner
from .llama_decoder import BLOCK, LlamaDecoder
from .static_step import Buffers, StaticStep


class CUDAGraphDecoder(LlamaDecoder):
    """As its base, with steps of static shapes.

    Args:
        llm: A model that :meth:`Llama.fits`.
        slots: The largest number of rows at a time.
        width: Beams of each row.
        reuse: Whether a prompt takes over what it shares with another.
        kernels: Whether fused kernels are used, where they work.
    """

    def __init__(self, llm: torch.nn.Module, slots: int, width: int = 1,
                 reuse: bool = True, kernels: bool = True) -> None:
        super().__init__(llm, slots, width, reuse, kernels)
        device = self.model.device
        self.buffers = Buffers(self.cache.num_slots, width, device)
        self._step = StaticStep(self.model, self.buffers, kernels)
        self.graphs = CUDAGraphRunner(self._advance, self._idle,
                             on=device.type == 'cuda')
        self._counted = 0
        # What it was made for; whoever keeps it compares.
        self.key: tuple = ()

    def reset(self, slots: int) -> None:
        """Forget all rows, to serve others.

        Args:
            slots: At most so many; no more than there was room for.
        """
        self.slots, self.num_rows = slots, 0
        self._entries = [0] * self.cache.num_slots
        self._keys = [()] * self.cache.num_slots
        self.num_read = self.num_reused = 0

    @torch.no_grad()
    def step(self, tokens: torch.Tensor,
             parents: torch.Tensor | None = None) -> torch.Tensor:
        """As of the base; the next step overwrites what this one gives."""
        n, w = tokens.shape
        held = self._entries[:n]
        stop = max(held) + w
        self._reserve(stop)
        own = self.buffers
        own.tokens[:n] = tokens
        if w > 1:
            own.parents[:n] = own.beams if parents is None else parents
        if n != self._counted:
            own.count.fill_(n)
            self._counted = n
        with torch.cuda.device_of(own.tokens):
            logits = self.graphs(
                min(bucket(n), self.cache.num_slots),
                min(bucket(max(stop, BLOCK)), self.cache.capacity))
        self._entries[:n] = [length + w for length in held]
        return logits[:n]

    def _advance(self, rows: int, seen: int) -> torch.Tensor:
        return self._step(rows, seen, self.cache, self.lengths,
                          self.positions, self.bias)

    @contextlib.contextmanager
    def _idle(self) -> Iterator[None]:
        """No row runs."""
        self.buffers.count.zero_()
        try:
            yield
        finally:
            self.buffers.count.fill_(self._counted)

    def _reserve(self, stop: int, room: int | None = None) -> None:
        if stop > self.cache.capacity:
            self.graphs.forget()
        super()._reserve(stop, room)


def bucket(number: int) -> int:
    """The least power of two that is no less."""
    return 1 << max(0, number - 1).bit_length()
