# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""A chat about one image, as ``apis.Chat`` holds it, with fixed lengths.

Chat itself is a door, which nothing inside the package opens; this does the
same with the head and the engine that it uses.
"""

from __future__ import annotations

import torch

from .inputs import make_text
from .jobs import check_lengths


class MultiTurn:
    """Turns of the same length, each answered in the same number of tokens.

    Args:
        model: Ours.
        words: Of each question.
        new: Tokens of each answer.
    """

    def __init__(self, model: torch.nn.Module, words: int, new: int) -> None:
        from mmpretrain_minigpt4.generation.engine import Engine
        self.head, self.model = model.head, model
        self.words, self.new = words, new
        self.engine = Engine(self.head.llm, 1, 1, self.head.context,
                             self.head.engine)
        self.turns: list = []
        self.seen: torch.Tensor | None = None

    @torch.no_grad()
    def ask(self, images: torch.Tensor) -> None:
        """One turn; the first one encodes the image, float[1, 3, H, W]."""
        from mmpretrain_minigpt4.prompts import TokenIds
        if self.seen is None:
            self.seen = self.model(images, mode='tensor')  # float[1, Q, E]
        question = make_text(self.words, len(self.turns))
        turns = [*self.turns, ('user', question)]
        request = self.head.answerer.request(
            self.seen, dict(conversation=turns),
            self.head.generation.replace(max_new_tokens=self.new))
        answer, = [event.answer for event in self.engine.run([request])
                   if event.answer is not None]
        check_lengths([len(answer.token_ids)], self.new)
        # In its own tokens, which need not be read again.
        said = [TokenIds(tuple(answer.token_ids))]
        self.turns = [*turns, ('assistant', said)]
