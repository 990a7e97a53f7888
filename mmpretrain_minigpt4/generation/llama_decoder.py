# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Rows of a LLaMA-like model that come and go while others run.

All beams of a row live in its one slot: the prompt's keys and values are
there once, every step adds one entry a beam, and a mask says which entries a
beam descends from. Nothing is copied when beams change places.

Legend: n running rows, b rows that enter, w beams of a row, S slots, T new
tokens a row, N entries seen, C entries a slot has room for, E width of the
model, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..llm.llama import Llama, Placement
from ..ops.transfer import to_device
from .prompt import Prompt, num_shared_tokens

# Fewer shared tokens than this are sooner computed than looked for.
LEAST_SHARED = 4
BLOCK = 64  # entries; the cache grows in such steps at least


class LlamaDecoder:
    """Keeps running rows in the first slots of a cache.

    Args:
        llm: A model that :meth:`Llama.fits`.
        max_num_seqs: The largest number of rows at a time.
        width: Beams of each row.
        enable_prefix_caching: Whether a prompt takes over what it shares
            with another.
        kernels: Whether fused kernels are used, where they work.
    """

    # New rows may enter while others run.
    refills = True

    def __init__(self,
                 llm: torch.nn.Module,
                 max_num_seqs: int,
                 width: int = 1,
                 enable_prefix_caching: bool = True,
                 kernels: bool = True) -> None:
        self.model = Llama(llm, kernels)
        self.max_num_seqs, self.width = max_num_seqs, width
        self.enable_prefix_caching = enable_prefix_caching
        self.cache = self.model.new_cache(max_num_seqs)
        device = self.model.device
        # Added to attention scores: 0 where a beam sees an entry, minus
        # infinity elsewhere; float[S, w, C].
        self.bias = torch.empty(
            max_num_seqs, width, 0, dtype=self.model.dtype, device=device)
        self.lengths = torch.zeros(max_num_seqs,
                                   dtype=torch.long,
                                   device=device)
        self.positions = self.lengths.clone()
        self._beams = torch.arange(width, device=device)
        self.num_rows = 0
        # What the slots hold, of rows that run and of rows that have left.
        self._entries = [0] * max_num_seqs
        self._token_hashes: list[tuple[int, ...]] = [()] * max_num_seqs
        # Prompt tokens that were read, and those that were not needed to.
        self.num_prefill_tokens = self.num_cached_tokens = 0

    @torch.no_grad()
    def prefill(self, prompts: Sequence[Prompt], room: int | None = None
                ) -> torch.Tensor:
        """Read prompts into the next slots.

        Args:
            prompts: b of them.
            room: Entries that these rows will need at most, to size the
                cache well; it grows beyond that where it must.

        Returns:
            float[b, V], the logits after each prompt.
        """
        first, later, prefix_hits = self._group_by_prefix(prompts)
        if not later:
            return self._read(prompts, room, prefix_hits)
        logits = torch.cat([
            self._read([prompts[i] for i in first], room,
                       [prefix_hits[i] for i in first]),
            self.prefill([prompts[i] for i in later], room)
        ])
        back = torch.empty(len(prompts), dtype=torch.long)
        back[torch.tensor(first + later)] = torch.arange(len(prompts))
        # Rows stand in the order in which they were read: put that right.
        start = self.num_rows - len(prompts)
        self._permute(start, back.tolist())
        return logits[back.to(logits.device)]

    @torch.no_grad()
    def step(self, tokens: torch.Tensor,
             parents: torch.Tensor | None = None) -> torch.Tensor:
        """Add a token to every beam of every row.

        Args:
            tokens: int[n, w].
            parents: int[n, w], the beam that each new one descends from;
                None where beams stay as they are.

        Returns:
            float[n, w, V], the logits after these tokens.
        """
        n, w = tokens.shape
        rows = slice(0, n)
        held = self._entries[:n]
        stop = max(held) + w
        self._reserve(stop)
        if parents is not None:
            # float[n, w, C], row by row in a new order
            self.bias[:n] = self.bias[:n].gather(
                1, parents.unsqueeze(2).expand(-1, -1, self.bias.shape[2]))
        # int[n, w]: each beam's own entry
        entries = self.lengths[:n].unsqueeze(1) + self._beams
        self.lengths[:n] += w
        lengths = self.lengths[:n]
        positions = self.positions[:n].unsqueeze(1).expand(-1, w)
        if w == 1 and self.model.fused:
            # All that such a row sees are its first entries.
            place = Placement(rows, entries, positions, stop, lengths=lengths)
        else:
            self.bias[:n].scatter_(2, entries.unsqueeze(2), 0.)
            level = w == 1 and min(held) == stop - 1
            place = Placement(
                rows, stop - 1 if level else entries, positions, stop,
                # float[n, w, N] -> float[n, 1, w, N]
                None if level else self.bias[:n, :, :stop].unsqueeze(1),
                lengths=None if level else lengths)
        hidden = self.model(self.model.embed(tokens), self.cache, place)
        self.positions[:n] += 1
        self._entries[:n] = [length + w for length in held]
        return self.model.lm_head(hidden)

    def drop(self, gone: Sequence[int]) -> list[int]:
        """Let rows leave; the last ones move into their places.

        Args:
            gone: Rows of 0 to n - 1.

        Returns:
            list: For each place, the row that now stands there.
        """
        order = list(range(self.num_rows))
        for row in sorted(gone, reverse=True):
            last = len(order) - 1
            if row != last:
                self._move(last, row)
                order[row] = order[last]
            order.pop()
        self.num_rows = len(order)
        return order

    def record_tokens(self, row: int, tokens: Sequence[int]) -> None:
        """Tell which tokens an only beam has added, for later prompts."""
        # The last token that was chosen was not read.
        keys = self._token_hashes[row] + tuple(tokens)
        self._token_hashes[row] = keys[:self._entries[row]]

    def _group_by_prefix(
            self, prompts: Sequence[Prompt]
    ) -> tuple[list[int], list[int], list[tuple[int, int]]]:
        """Which prompts go first, which can then take over from those.

        The origins tell, for each, a slot and how much of it to take.
        """
        first, later, prefix_hits = [], [], []
        for i, prompt in enumerate(prompts):
            slot, shared = -1, 0
            if self.enable_prefix_caching and prompt.token_hashes:
                # At least the last token is read, for its logits.
                most = len(prompt.token_hashes) - 1
                for other, keys in enumerate(self._token_hashes):
                    common = min(num_shared_tokens(keys, prompt.token_hashes),
                                 most)
                    if common > shared:
                        slot, shared = other, common
                here = max((min(
                    num_shared_tokens(prompts[j].token_hashes,
                                      prompt.token_hashes), most)
                            for j in first),
                           default=0)
                if here >= max(shared, LEAST_SHARED) + LEAST_SHARED:
                    later.append(i)
                    prefix_hits.append((-1, 0))
                    continue
            first.append(i)
            prefix_hits.append((slot, shared if shared >= LEAST_SHARED else 0))
        return first, later, prefix_hits

    def _read(self, prompts: Sequence[Prompt], room: int | None,
              prefix_hits: Sequence[tuple[int, int]]) -> torch.Tensor:
        start, size = self.num_rows, len(prompts)
        lengths = [len(prompt.embeds) for prompt in prompts]
        self._reserve(max(lengths), room)
        # Slots of rows that have left may be overwritten here, so what is
        # taken over from them is set aside first.
        aside = {
            i: self.cache.take(slot, shared)
            for i, (slot, shared) in enumerate(prefix_hits)
            if shared and slot >= start and slot != start + i
        }
        for i, (slot, shared) in enumerate(prefix_hits):
            if i in aside:
                self.cache.put(start + i, aside[i])
            elif shared and slot != start + i:
                self.cache.copy(slot, start + i, shared)
        begins = [shared for _, shared in prefix_hits]
        fresh = [length - begin
                 for length, begin in zip(lengths, begins, strict=True)]
        self.num_prefill_tokens += sum(fresh)
        self.num_cached_tokens += sum(begins)
        device = self.model.device
        longest = max(fresh)
        embeds = prompts[0].embeds.new_zeros(
            size, longest, prompts[0].embeds.shape[1])
        for i, prompt in enumerate(prompts):
            embeds[i, :fresh[i]] = prompt.embeds[begins[i]:]
        # Padding stands behind, where nothing that counts sees it; what it
        # writes is overwritten, or masked.
        stop = max(begins) + longest
        self._reserve(stop)
        offsets = to_device(begins, device)
        places = offsets.unsqueeze(1) + torch.arange(longest, device=device)
        entries = places if len(set(begins)) > 1 else begins[0]
        before = offsets if any(begins) else None
        hidden = self.model(
            embeds.to(device), self.cache,
            Placement(slice(start, start + size), entries, places, stop,
                      causal=before is None, before=before))
        last = to_device(fresh, device) - 1
        # float[b, T, E] -> float[b, E]
        hidden = hidden[torch.arange(size, device=device), last]
        self._settle(start, prompts, lengths)
        return self.model.lm_head(hidden)

    def _settle(self, start: int, prompts: Sequence[Prompt],
                lengths: Sequence[int]) -> None:
        rows = slice(start, start + len(prompts))
        self.lengths[rows] = to_device(lengths, self.lengths.device)
        self.positions[rows] = self.lengths[rows]
        seen = torch.arange(self.bias.shape[2], device=self.bias.device)
        # float[b, 1, C]
        self.bias[rows] = self.bias.new_zeros(
            len(prompts), 1, len(seen)).masked_fill_(
                seen >= self.lengths[rows].view(-1, 1, 1), -torch.inf)
        self._entries[rows] = lengths
        self._token_hashes[rows] = [prompt.token_hashes for prompt in prompts]
        self.num_rows += len(prompts)

    def _reserve(self, stop: int, room: int | None = None) -> None:
        """Make room for ``stop`` entries, with some to grow into."""
        wanted = -(-stop // BLOCK) * BLOCK
        if room is not None:
            # A very long answer may well end early.
            wanted = max(wanted, min(stop + room, stop + 8 * BLOCK))
        if stop > self.cache.capacity and self.cache.reserve(wanted):
            grown = self.bias.new_full(
                (self.cache.num_slots, self.width, self.cache.capacity),
                -torch.inf)
            grown[:, :, :self.bias.shape[2]] = self.bias
            self.bias = grown

    def _move(self, source: int, target: int) -> None:
        length = self._entries[source]
        self.cache.copy(source, target, length)
        for state in (self.bias, self.lengths, self.positions):
            state[target] = state[source]
        self._entries[target] = length
        self._token_hashes[target] = self._token_hashes[source]

    def _permute(self, start: int, back: Sequence[int]) -> None:
        """Reorder the rows from ``start`` on: place i gets row back[i]."""
        held = {
            row: (self.cache.take(start + row, self._entries[start + row]),
                  *(state[start + row].clone() for state in
                    (self.bias, self.lengths, self.positions)),
                  self._entries[start + row], self._token_hashes[start + row])
            for place, row in enumerate(back) if place != row
        }
        for place, row in enumerate(back):
            if place == row:
                continue
            entries, bias, length, position, number, keys = held[row]
            target = start + place
            self.cache.put(target, entries)
            self.bias[target], self.lengths[target] = bias, length
            self.positions[target] = position
            self._entries[target], self._token_hashes[target] = number, keys
