# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Rows of any causal language model of transformers, over its own cache.

Legend: n running rows, b rows that enter, w beams of a row, T tokens of the
longest prompt, E width of the model, V vocabulary.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import torch

from ..llm.kv_cache import cache_argument
from .prompt import Prompt


class HFDecoder:
    """Reads a group of prompts together and steps them together.

    Args:
        llm: A causal language model of transformers.
        max_num_seqs: The largest number of rows at a time.
        width: Beams of each row.
    """

    # A cache of transformers has one length for all its rows, so that a new
    # group enters only when the last row of the old one has left.
    refills = False

    def __init__(self, llm: torch.nn.Module, max_num_seqs: int,
                 width: int = 1) -> None:
        self.llm, self.max_num_seqs, self.width = llm, max_num_seqs, width
        self.num_rows = 0
        self.num_prefill_tokens = self.num_cached_tokens = 0
        self._cache = None
        self._mask = torch.empty(0)
        known = inspect.signature(llm.forward).parameters
        self._cache_key = cache_argument(llm)
        self._takes_positions = 'position_ids' in known
        self._keeps_some = 'logits_to_keep' in known

    @torch.no_grad()
    def prefill(self, prompts: Sequence[Prompt], room: int | None = None
                ) -> torch.Tensor:
        """Read prompts; there must be no row.

        Args:
            prompts: b of them.
            room: Not needed here.

        Returns:
            float[b, V], the logits after each prompt.
        """
        device = self.llm.get_input_embeddings().weight.device
        lengths = [len(prompt.embeds) for prompt in prompts]
        longest = max(lengths)
        embeds = prompts[0].embeds.new_zeros(
            len(prompts), longest, prompts[0].embeds.shape[1])
        mask = torch.zeros(len(prompts), longest, dtype=torch.long)
        for i, prompt in enumerate(prompts):
            embeds[i, longest - lengths[i]:] = prompt.embeds
            mask[i, longest - lengths[i]:] = 1
        self._cache, self._mask = None, mask.to(device)
        logits = self._forward(
            dict(inputs_embeds=embeds.to(device)),
            (self._mask.cumsum(1) - 1).clamp(min=0))
        self.num_rows = len(prompts)
        self.num_prefill_tokens += sum(lengths)
        if self.width > 1:
            self._select(
                torch.arange(len(prompts),
                             device=device).repeat_interleave(self.width))
        return logits

    @torch.no_grad()
    def step(self, tokens: torch.Tensor,
             parents: torch.Tensor | None = None) -> torch.Tensor:
        """Add a token to every beam of every row.

        Args:
            tokens: int[n, w].
            parents: int[n, w], the beam that each new one descends from.

        Returns:
            float[n, w, V], the logits after these tokens.
        """
        n, w = tokens.shape
        if parents is not None:
            base = torch.arange(n, device=parents.device).unsqueeze(1) * w
            self._select((base + parents).flatten())  # int[n * w]
        self._mask = torch.cat(
            [self._mask, self._mask.new_ones(n * w, 1)], 1)
        logits = self._forward(
            dict(input_ids=tokens.reshape(n * w, 1)),
            self._mask.sum(1, keepdim=True) - 1)
        return logits.unflatten(0, (n, w))  # float[n, w, V]

    def drop(self, gone: Sequence[int]) -> list[int]:
        """Let rows leave.

        Args:
            gone: Rows of 0 to n - 1.

        Returns:
            list: For each place, the row that now stands there.
        """
        order = [row for row in range(self.num_rows) if row not in set(gone)]
        self.num_rows = len(order)
        if order:
            kept = torch.tensor(order, device=self._mask.device)
            beams = torch.arange(self.width, device=kept.device)
            # int[n, w] -> int[n * w]
            self._select(
                (kept.unsqueeze(1) * self.width + beams).flatten())
        else:
            self._cache = None
        return order

    def record_tokens(self, row: int, tokens: Sequence[int]) -> None:
        """Nothing: prompts share nothing here."""

    def _select(self, rows: torch.Tensor) -> None:
        self._cache.reorder_cache(rows)
        self._mask = self._mask[rows]

    def _forward(self, inputs: dict, positions: torch.Tensor
                 ) -> torch.Tensor:
        if self._takes_positions:
            inputs['position_ids'] = positions
        if self._keeps_some:
            inputs['logits_to_keep'] = 1
        out = self.llm(
            **inputs,
            attention_mask=self._mask,
            use_cache=True,
            **{self._cache_key: self._cache})
        self._cache = out[self._cache_key]
        return out.logits[:, -1]
