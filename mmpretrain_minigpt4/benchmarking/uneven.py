# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Captions of uneven lengths: rows that end make room, or all wait.

Legend: B rows, T tokens of a prompt, E width of the LLM.
"""

from __future__ import annotations

import random

import torch

from ..errors import BenchmarkError
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


class Uneven:
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
        self.pair, self.lengths, self.slots = pair, lengths, slots
        self.occupancy = 0.0
        samples = make_samples(pair.ours, slots, tokens)
        inputs = peer_inputs(pair.ours, dims, samples)
        self.mask = inputs['attention_mask']
        with torch.no_grad():
            images = make_images(dims, slots, pair.ours.device)
            visual = pair.ours(images, mode='tensor')
            # float[B, T, E]
            embeds = pair.peer.get_input_embeddings()(inputs['input_ids'])
            places = inputs['input_ids'] == dims.image_id
            embeds[places] = visual.flatten(0, 1).to(embeds)
        self.embeds = embeds

    def ours(self) -> None:
        """All captions through the engine.

        Raises:
            BenchmarkError: If a caption has another length.
        """
        try:
            from ..generation.engine import Engine, Request
            from ..generation.prompt import Prompt
        except ImportError as error:
            raise BenchmarkError('This version has no decoding engine that '
                                 'refills its slots.') from error
        from ..generation import StopMatcher
        head = self.pair.ours.head
        matcher = StopMatcher(head.tokenizer.token_bytes)

        def requests():
            for i, length in enumerate(self.lengths):
                row = i % self.slots
                options = head.generation.replace(max_new_tokens=length)
                # Without keys nothing is shared between prompts.
                prompt = Prompt(self.embeds[row][self.mask[row].bool()])
                yield Request(prompt, options, matcher, tag=i)

        engine = Engine(head.llm, slots=self.slots, context=head.context)
        with torch.no_grad():
            for event in engine.run(requests()):
                if event.answer is not None:
                    check_lengths([len(event.answer.token_ids)],
                                  self.lengths[event.tag])
        self.occupancy = engine.stats.occupancy

    def peer(self) -> None:
        """All captions in batches, each to its longest."""
        for start in range(0, len(self.lengths), self.slots):
            some = self.lengths[start:start + self.slots]
            self.pair.peer.language_model.generate(
                inputs_embeds=self.embeds[:len(some)],
                attention_mask=self.mask[:len(some)],
                max_new_tokens=max(some))
