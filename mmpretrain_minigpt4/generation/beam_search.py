# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Beam search for one row, with the rules of transformers' own.

A finished answer is rated by its summed log-probability over its length to
the power of the length penalty. The search ends when there are as many
finished answers as beams and the best open one, rated by its present
length, is no better than the worst of them.

Legend: w beams, K candidates, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from ..ops.transfer import AsyncHostCopy, to_device
from .sampler import apply_penalties, warp_logits
from .sampling_params import SamplingParams
from .stop_criteria import StopChecker

# What transformers adds to the score of what must not be taken.
LOW = -1e9


@dataclass
class Beam:
    """An answer in the making, or a finished one.

    Args:
        score: Summed log-probability; rated, once finished.
        tokens: What was generated.
        parent: The beam of the step before that it descends from.
    """
    score: float
    tokens: list[int] = field(default_factory=list)
    parent: int = 0


class BeamSearch:
    """The beams of one row.

    Args:
        options: Decoding options.
        stop_checker: What ends an answer.
        limit: The largest number of tokens.
        generator: For beams that are drawn; None takes the global state.
    """

    def __init__(self,
                 options: SamplingParams,
                 stop_checker: StopChecker,
                 limit: int,
                 generator: torch.Generator | None = None) -> None:
        self.options, self.limit = options, limit
        self.stop_checker = stop_checker
        self.generator = generator
        self.width = options.num_beams
        # As many as can end at once, and as many again to go on with.
        self.num_candidates = max(2,
                                  1 + len(stop_checker.end_ids)) * self.width
        # All beams begin alike, so only one of them counts at first.
        self.beams = [Beam(0.)] + [Beam(LOW) for _ in range(self.width - 1)]
        self.finished: list[Beam] = []
        self.improvable = True
        self.done = False

    def advance(self, logits: torch.Tensor) -> None:
        """Take one step.

        Args:
            logits: float[w, V]; float[1, V] in the first step.
        """
        self._take(self._candidates(logits.float()))

    @property
    def plain(self) -> bool:
        """Whether candidates are the likeliest continuations as they are."""
        options = self.options
        return not (options.do_sample or options.no_repeat_ngram_size
                    or options.repetition_penalty != 1)

    def _take(self, candidates: list[Beam]) -> None:
        length = len(self.beams[0].tokens) + 1
        going, ended = [], []
        for rank, beam in enumerate(candidates):
            if length >= self.limit or self.stop_checker.ends(beam.tokens):
                # Only what is among the first w counts as an answer.
                ended.append(beam)
                if rank < self.width and self.improvable:
                    rated = beam.score / length**self.options.length_penalty
                    self.finished.append(Beam(rated, beam.tokens))
            else:
                going.append(beam)
        self.finished.sort(key=lambda beam: -beam.score)
        del self.finished[self.width:]
        # With too few that go on, ended ones fill the places, to no effect.
        filling = [
            Beam(beam.score + LOW, beam.tokens, beam.parent) for beam in ended
        ]
        self.beams = (going + filling)[:self.width]
        if len(self.finished) == self.width:
            best = self.beams[0].score / length**self.options.length_penalty
            self.improvable &= best > self.finished[-1].score
        self.done = not self.improvable or not going

    @property
    def tokens(self) -> list[int]:
        """The last token of each beam."""
        return [beam.tokens[-1] for beam in self.beams]

    @property
    def parents(self) -> list[int]:
        """The beam of the step before that each descends from."""
        return [beam.parent for beam in self.beams]

    @property
    def best(self) -> list[int]:
        """The tokens of the best answer so far."""
        return (self.finished or self.beams)[0].tokens

    def _candidates(self, logits: torch.Tensor) -> list[Beam]:
        scores = logits.log_softmax(-1)
        options = self.options
        if not self.plain:
            scores = torch.stack([
                apply_penalties(row, beam.tokens, options)
                for row, beam in zip(scores, self.beams, strict=False)
            ])
        if options.do_sample:
            scores = warp_logits(scores, options)
        starts = torch.tensor(
            [beam.score for beam in self.beams[:len(scores)]],
            device=scores.device)
        scores = scores + starts.unsqueeze(1)
        vocab = scores.shape[1]
        flat = scores.flatten()  # float[w * V]
        number = min(self.num_candidates, flat.numel())
        order = flat
        if options.do_sample:
            # The largest of scores with Gumbel noise are a draw without
            # replacement.
            noise = torch.rand(
                flat.shape, dtype=torch.float64, generator=self.generator)
            noise = -(-noise.clamp_min(1e-300).log()).log()
            order = flat.double() + noise.to(flat.device)
        indices = order.topk(number).indices
        values = flat[indices]
        if options.do_sample:
            values, places = values.sort(descending=True, stable=True)
            indices = indices[places]
        return self._continue(values.tolist(), indices.tolist(), vocab)

    def _continue(self, values: list[float], indices: list[int],
                  vocab: int) -> list[Beam]:
        return [
            Beam(score, self.beams[index // vocab].tokens + [index % vocab],
                 index // vocab)
            for score, index in zip(values, indices, strict=True)
        ]


def advance_all(searches: Sequence[BeamSearch], logits: torch.Tensor
                ) -> None:
    """Take one step of many rows, and wait for the device only once.

    Args:
        searches: Of n rows.
        logits: float[n, w, V]; float[n, 1, V] in the first step.
    """
    numbers = {search.num_candidates for search in searches}
    if len(numbers) > 1 or not all(search.plain for search in searches):
        for search, of_row in zip(searches, logits, strict=True):
            search.advance(of_row)
        return
    width, vocab = logits.shape[1:]
    starts = to_device(
        [[beam.score for beam in search.beams[:width]]
         for search in searches], logits.device)
    scores = logits.float().log_softmax(-1) + starts.unsqueeze(2)
    # float[n, w, V] -> float[n, w * V] -> float[n, K]
    best = scores.flatten(1).topk(min(*numbers, width * vocab))
    for search, values, indices in zip(
            searches, *AsyncHostCopy(best.values, best.indices).lists(),
            strict=True):
        search._take(search._continue(values, indices, vocab))
