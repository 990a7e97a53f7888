# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""A decoding step of static shapes, which a CUDA graph can hold.

Everything that changes from step to step lies in buffers that stay where they
are and is advanced on the device. Rows of a bucket that do not run are read
over: they see nothing, and what they would write goes nowhere.

Legend: R rows of a bucket, w beams of a row, S slots, E width of the model, H
heads, K key-value heads, D width of a head, C entries that a slot has room
for, N entries that a bucket reads, V vocabulary.
"""

from __future__ import annotations

import torch

from ..llm.fused_layers import fused_layers
from ..llm.kv_cache import KVCache
from ..llm.llama import Llama
from ..ops import kernels


class Buffers:
    """What a step reads and advances.

    Args:
        max_num_seqs: S.
        width: w.
        device: Where they are.
    """

    def __init__(self, slots: int, width: int, device: torch.device) -> None:

        def zeros(*shape: int) -> torch.Tensor:
            return torch.zeros(shape, dtype=torch.long, device=device)

        self.tokens = zeros(slots, width)
        # The beam that each new one descends from.
        self.parents = zeros(slots, width)
        # Rows that run: the first ones.
        self.count = zeros()
        self.slots = torch.arange(slots, device=device)
        self.beams = torch.arange(width, device=device)


class CUDAGraphStep:
    """Adds a token to every beam of every row that runs.

    Args:
        model: The way through the language model.
        buffers: Tokens, parents and the number of rows.
        use_kernels: Whether fused kernels are used, where they work.
    """

    def __init__(self, model: Llama, buffers: Buffers,
                 use_kernels: bool = True) -> None:
        self.model, self.buffers = model, buffers
        self.kernels = use_kernels
        self.num_positions = model.rotary.config.max_position_embeddings
        # float[P, D] each
        self.cos, self.sin = model.rope(self.num_positions)

    @torch.no_grad()
    def __call__(self, rows: int, seen: int, cache: KVCache,
                 lengths: torch.Tensor, positions: torch.Tensor,
                 bias: torch.Tensor) -> torch.Tensor:
        """One step.

        Args:
            rows: R, of which some may not run.
            seen: N, at least what the longest row has after the step.
            cache: With room for them.
            lengths: int[S], entries of each row; advanced in place.
            positions: int[S], of the new tokens; advanced in place.
            bias: float[S, w, C], 0 where a beam sees an entry, else minus
                infinity; advanced in place, and read with several beams only.

        Returns:
            float[R, w, V], of which those of rows that run mean something.
        """
        own, width = self.buffers, self.buffers.tokens.shape[1]
        runs = own.slots[:rows] < own.count  # bool[R]
        lengths, positions = lengths[:rows], positions[:rows]
        entries = lengths.unsqueeze(1) + own.beams  # int[R, w]
        mask = None
        if width > 1:
            mask = _descend(bias[:rows, :, :seen], own.parents[:rows],
                            entries, runs)
        idle = ~runs
        entries = entries.masked_fill(idle.unsqueeze(1), -1)
        # A row may be stepped on beyond its limit, to no effect.
        at = positions.clamp(max=self.num_positions - 1)
        cos_sin = tuple(
            table[at].unsqueeze(1).expand(-1, width, -1).contiguous()
            for table in (self.cos, self.sin))  # float[R, w, D] each
        hidden = self._layers(own.tokens[:rows], cos_sin, cache, entries,
                              (lengths + width).masked_fill(idle, 0), mask,
                              seen)
        lengths += runs * width
        positions += runs
        return self.model.lm_head(hidden)

    def _layers(self, tokens: torch.Tensor,
                cos_sin: tuple[torch.Tensor, torch.Tensor], cache: KVCache,
                entries: torch.Tensor, lengths: torch.Tensor,
                mask: torch.Tensor | None, seen: int) -> torch.Tensor:
        model = self.model
        x = model.embed(tokens).to(model.dtype)  # float[R, w, E]
        with kernels.disabled(not self.kernels):
            operators = kernels.operators(x.device, x.dtype)

        def attend(index: int, qkv: torch.Tensor) -> torch.Tensor:
            q = operators.apply_rope_and_write(
                qkv, *cos_sin, cache.keys[index], cache.values[index], entries,
                model.num_heads, model.num_kv_heads)
            return operators.decode_attention(
                q, cache.keys[index, :, :, :seen],
                cache.values[index, :, :, :seen], lengths, mask)

        return fused_layers(model, x, operators, attend)


def _descend(bias: torch.Tensor, parents: torch.Tensor,
             entries: torch.Tensor, runs: torch.Tensor) -> torch.Tensor:
    """What beams see: what their parents saw, and their own new entries.

    Args:
        bias: float[R, w, N], changed in place for rows that run.
        parents: int[R, w].
        entries: int[R, w].
        runs: bool[R].

    Returns:
        float[R, w, N], contiguous.
    """
    after = bias.gather(1, parents.unsqueeze(2).expand_as(bias))
    # Rows that do not run may stand anywhere.
    after.scatter_(
        2, entries.clamp(max=bias.shape[2] - 1).unsqueeze(2), 0.)
    after = after.where(runs.view(-1, 1, 1), bias)
    bias.copy_(after)
    return after
