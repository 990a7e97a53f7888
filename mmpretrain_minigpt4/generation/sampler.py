# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""From logits to tokens: penalties, and greedy choice or a draw.

Legend: n rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .sampling_params import SamplingParams


def apply_penalties(scores: torch.Tensor, tokens: Sequence[int],
                    options: SamplingParams) -> torch.Tensor:
    """Make what one row has said already less likely, or impossible.

    Args:
        scores: float32[V], logits or log-probabilities.
        tokens: What the row has generated so far.
        options: How strongly.
    """
    if not tokens:
        return scores
    if options.repetition_penalty != 1:
        generated = torch.tensor(sorted(set(tokens)), device=scores.device)
        of_said = scores[generated]
        penalty = options.repetition_penalty
        scores = scores.index_put(
            (generated, ),
            torch.where(of_said < 0, of_said * penalty, of_said / penalty))
    size = options.no_repeat_ngram_size
    if size and len(tokens) >= size - 1:
        tail = list(tokens[len(tokens) - size + 1:])
        banned = {
            tokens[i + size - 1]
            for i in range(len(tokens) - size + 1)
            if list(tokens[i:i + size - 1]) == tail
        }
        if banned:
            scores = scores.index_fill(
                0, torch.tensor(sorted(banned), device=scores.device),
                -torch.inf)
    return scores


def warp_logits(scores: torch.Tensor, options: SamplingParams
                ) -> torch.Tensor:
    """Apply temperature, top-k and top-p to float32[..., V]."""
    scores = scores / options.temperature
    if options.top_k and options.top_k < scores.shape[-1]:
        least = scores.topk(options.top_k).values[..., -1:]
        scores = scores.masked_fill(scores < least, -torch.inf)
    if options.top_p < 1:
        ordered, order = scores.sort(descending=True, dim=-1)
        chances = ordered.softmax(-1)
        # A token stays if those before it do not fill top_p.
        out = chances.cumsum(-1) - chances >= options.top_p
        out[..., 0] = False
        scores = scores.masked_fill(
            out.scatter(-1, order, out), -torch.inf)
    return scores


def sample_token(scores: torch.Tensor, options: SamplingParams,
                 generator: torch.Generator | None) -> int:
    """Draw a token of one row.

    The random number comes from the row's own generator on the CPU, so that
    a draw depends neither on the neighbours nor on the kind of device.

    Args:
        scores: float32[V].
        options: Temperature, top-k and top-p.
        generator: None draws from the global state.
    """
    chances = warp_logits(scores, options).softmax(-1).double().cumsum(-1)
    point = torch.rand((), dtype=torch.float64, generator=generator)
    found = torch.searchsorted(
        chances, (point.to(chances.device) * chances[-1]).reshape(1),
        right=True)
    return min(int(found), len(chances) - 1)


def sample(logits: torch.Tensor, generated: Sequence[Sequence[int]],
           options: Sequence[SamplingParams],
           generators: Sequence[torch.Generator | None]) -> torch.Tensor:
    """Choose the next token of each row.

    Args:
        logits: float[n, V].
        generated: What each row has generated so far.
        options: Of each row.
        generators: Of each row.

    Returns:
        int[n].
    """
    scores = logits.float()
    changed = {}
    for i, of_row in enumerate(options):
        if of_row.repetition_penalty != 1 or of_row.no_repeat_ngram_size:
            changed[i] = apply_penalties(scores[i], generated[i], of_row)
    if changed:
        scores = scores.clone()
        for i, row in changed.items():
            scores[i] = row
    tokens = scores.argmax(-1)
    for i, of_row in enumerate(options):
        if of_row.do_sample:
            tokens[i] = sample_token(scores[i], of_row, generators[i])
    return tokens


def new_generator(options: SamplingParams) -> torch.Generator | None:
    """A generator of one row's own, if it draws with a seed."""
    if not options.do_sample or options.seed is None:
        return None
    return torch.Generator().manual_seed(options.seed)
