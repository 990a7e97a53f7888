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
from .cuda_graph_step import Buffers, CUDAGraphStep
from .llama_decoder import BLOCK, LlamaDecoder


class CUDAGraphDecoder(LlamaDecoder):
    """As its base, with steps of static shapes.

    Args:
        llm: A model that :meth:`Llama.fits`.
        max_num_seqs: The largest number of rows at a time.
        width: Beams of each row.
        enable_prefix_caching: Whether a prompt takes over what it shares
            with another.
        kernels: Whether fused kernels are used, where they work.
    """

    def __init__(self,
                 llm: torch.nn.Module,
                 max_num_seqs: int,
                 width: int = 1,
                 enable_prefix_caching: bool = True,
                 kernels: bool = True) -> None:
        super().__init__(llm, max_num_seqs, width, enable_prefix_caching,
                         kernels)
        device = self.model.device
        self.buffers = Buffers(self.cache.num_slots, width, device)
        self._step = CUDAGraphStep(self.model, self.buffers, kernels)
        self.graph_runner = CUDAGraphRunner(self._advance, self._idle,
                                            on=device.type == 'cuda')
        self._counted = 0
        # What it was made for; whoever keeps it compares.
        self.key: tuple = ()

    def reset(self, max_num_seqs: int) -> None:
        """Forget all rows, to serve others.

        Args:
            max_num_seqs: At most so many; no more than there was room for.
        """
        self.max_num_seqs, self.num_rows = max_num_seqs, 0
        self._entries = [0] * self.cache.num_slots
        self._token_hashes = [()] * self.cache.num_slots
        self.num_prefill_tokens = self.num_cached_tokens = 0

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
            logits = self.graph_runner(
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
            self.graph_runner.reset()
        super()._reserve(stop, room)


def bucket(number: int) -> int:
    """The least power of two that is no less."""
    return 1 << max(0, number - 1).bit_length()
