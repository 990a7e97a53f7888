# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""A talk about images, turn by turn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from ..generation import Answer
from ..prompts import Turn, with_images
from .inferencer import MiniGPT4Inferencer


class Chat:
    """Remembers what was shown, asked and answered.

    An image is encoded once, and a new turn reads its own words only: what
    came before is still there, keys and values. When the talk outgrows the
    language model, its oldest turns are left out; images and system text
    stay. ``history`` holds the talk as ``(role, text)``.

    Args:
        inferencer: Any inferencer of the package, which brings model and
            preprocessing.
        system: System text, put before everything. By default none, as in
            training.
        **options: Decoding options of all turns, over the config's.

    Examples:
        >>> from mmpretrain_minigpt4.apis import Chat, open_model
        >>> chat = Chat(open_model('minigpt-4_tiny_vqa'))
        >>> chat.ask('How many shapes are there?', 'demo/scene.png')
        >>> chat.ask('What color is the largest one?')
    """

    def __init__(self, inferencer: MiniGPT4Inferencer,
                 system: str | None = None, **options: Any) -> None:
        self.inferencer = inferencer
        self.model = inferencer.model
        self.system, self.options = system, options
        head = self.model.head
        self._engine = head.answerer.create_engine()
        self.reset()

    def reset(self) -> None:
        """Forget images and turns."""
        self.history: list[tuple[str, str]] = []
        self._turns: list[Turn] = []
        self._tokens: list[torch.Tensor] = []

    def ask(self, asked: str, images: Any = None, **options: Any) -> str:
        """Ask, and get the whole answer.

        Args:
            asked: The user's words, literally.
            images: Put in front of them; one or a list of what
                :func:`images.load_image` reads.
            **options: Decoding options of this turn.

        Raises:
            ImageError: If an image cannot be read.
            PromptError: If the text cannot be read.
        """
        return ''.join(self.stream(asked, images, **options))

    def stream(self, asked: str, images: Any = None, **options: Any
               ) -> Iterator[str]:
        """As :meth:`ask`, piece by piece.

        Only a turn that was answered to its end, or as far as its pieces
        were taken, is remembered.
        """
        tokens = self._tokens + self._encode(images)
        content = with_images(asked, len(tokens) - len(self._tokens))
        turns = [*self._turns, ('user', content)]
        head = self.model.head
        sample = dict(conversation=turns, system=self.system)
        answerer, width = head.answerer, head.embed_dims
        request = answerer.request(
            torch.stack(tokens) if tokens else torch.empty(0, 0, width),
            sample,
            answerer.sampling_params({**self.options, **options}))
        run = self._engine.run([request._replace(stream=True)])
        said: list[str] = []
        answer: Answer | None = None
        try:
            for event in run:
                answer = event.answer
                if event.text:
                    said.append(event.text)
                    yield event.text
        finally:
            run.close()
            if said or answer is not None:
                text = ''.join(said)
                turn = text if answer is None else answerer.to_history(answer)
                self._turns = [*turns, ('assistant', turn)]
                self._tokens = tokens
                self.history += [('user', asked), ('assistant', text)]

    def _encode(self, images: Any) -> list[torch.Tensor]:
        """Visual tokens, float[Q, E] of each image."""
        if images is None:
            return []
        if not isinstance(images, (list, tuple)):
            images = [images]
        found = []
        for batch in self.inferencer.preprocess(
                [dict(img=image) for image in images]):
            data = self.model.data_preprocessor(batch, False)
            with torch.no_grad():
                found += self.model.extract_feat(data['images'])
        return found
