# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Captions of uneven lengths: rows that end make room, or all wait.

Legend: B rows, T tokens of a prompt, Q visual tokens, E width of the LLM.
"""

from __future__ import annotations

import random

import torch

from .bench import Pair
from .dims import Dims
from .inputs import make_images, make_samples, peer_inputs
from .jobs import check_lengths


def draw_lengths(number: int, mean: float = 80, cap: int = 300,
                 sigma: float = 0.6, seed: int = 0) -> list[int]:
    """Lengths in tokens, log-normal around a mean before they are capped."""
    draw = random.Random(seed)
    centre = torch.log(torch.tensor(mean)).item() - sigma**2 / 2
    return [
        max(1, min(cap, round(draw.lognormvariate(centre, sigma))))
        for _ in range(number)
    ]


class RaggedCaptions:
    """The job of each side; ours counts how busy its slots were.

    Ours gives the decoding engine one request a caption, each with its own
    length. The peer takes batches of as many rows as there are slots, in
    order, and each runs to its longest, as ``generate`` does.

    Args:
        pair: The models.
        dims: Their size.
        tokens: Of each prompt, image with it.
        lengths: Of the captions, in tokens.
        slots: Rows at a time.
    """

    def __init__(self, pair: Pair, dims: Dims, tokens: int,
                 lengths: list[int], slots: int) -> None:
        from mmpretrain_minigpt4.generation.engine import Engine
        self.pair, self.lengths, self.slots = pair, lengths, slots
        head = pair.ours.head
        self.engine = Engine(head.llm, slots, 1, head.context, head.engine)
        self.samples = make_samples(pair.ours, slots, tokens)
        inputs = peer_inputs(pair.ours, dims, self.samples)
        self.mask = inputs['attention_mask']
        with torch.no_grad():
            images = make_images(dims, slots, pair.ours.device)
            self.visual = pair.ours(images, mode='tensor')  # float[B, Q, E]
            # float[B, T, E]
            embeds = pair.peer.get_input_embeddings()(inputs['input_ids'])
            places = inputs['input_ids'] == dims.image_id
            embeds[places] = self.visual.flatten(0, 1).to(embeds)
        self.embeds = embeds
        self.calls = 0

    @property
    def occupancy(self) -> float:
        """Share of the slots that ran while captions were left."""
        return self.engine.stats.occupancy

    def ours(self) -> None:
        """All captions through the engine.

        Raises:
            BenchmarkError: If a caption has another length.
        """
        head = self.pair.ours.head
        self.calls += 1

        def requests():
            for i, length in enumerate(self.lengths):
                row = i % self.slots
                # No two captions, of this call or another, are of the same
                # visual tokens: nothing of one may serve the next.
                factor = 1 + 1e-2 * (self.calls + i / len(self.lengths))
                yield head.answerer.request(
                    self.visual[row:row + 1] * factor, self.samples[row],
                    head.generation.replace(max_new_tokens=length)
                )._replace(tag=i)

        with torch.no_grad():
            for event in self.engine.run(requests()):
                if event.answer is not None:
                    check_lengths([len(event.answer.token_ids)],
                                  self.lengths[event.tag])

    def peer(self) -> None:
        """All captions in batches, each to its longest."""
        for start in range(0, len(self.lengths), self.slots):
            some = self.lengths[start:start + self.slots]
            self.pair.peer.language_model.generate(
                inputs_embeds=self.embeds[:len(some)],
                attention_mask=self.mask[:len(some)],
                max_new_tokens=max(some))
