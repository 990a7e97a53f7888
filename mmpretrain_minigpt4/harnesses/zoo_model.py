# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""A model of the zoo, asked as harnesses ask: any number of images a time.

Legend: B documents, n images of a document, H and W pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from mmpretrain.structures import DataSample

from ..apis import open_model
from ..errors import MiniGPT4Error
from ..models.heads.samples import PREDICTIONS
from ..models.heads.scoring import Score
from .requests import flatten, place_images


@dataclass(frozen=True)
class Document:
    """One thing to ask.

    Attributes:
        name: What errors call it.
        text: The question as its task words it; it goes into the template
            of the model. Empty stands for no question at all, which only
            :meth:`Asker.rate` takes.
        visuals: Images as the inferencers take them, nested or None.
        candidates: Answers to rate.
    """
    name: str
    text: str
    visuals: Any = None
    candidates: Sequence[str] = field(default=())


class Asker:
    """Answers documents, and rates given answers, over an inferencer.

    Args:
        name: A name in the zoo, for descriptions or for questions: the text
            of a document takes the place of either's instruction.
        device: As of :func:`~mmpretrain_minigpt4.apis.open_model`.
        **settings: The same.
    """

    def __init__(self, name: str, device: str | None = None,
                 **settings: Any) -> None:
        self.inferencer = open_model(name, device, **settings)
        self.model = self.inferencer.model

    def answer(self, documents: Sequence[Document],
               options: Mapping[str, Any]) -> list[str]:
        """Answer documents at once.

        Args:
            documents: B of them.
            options: Decoding options, over the config's.

        Raises:
            MiniGPT4Error: If something cannot be read; the message names
                the documents.
        """
        images, samples = self._read(documents)
        with _told(*documents):
            found = self.model(images, samples, mode='predict', **options)
        key = PREDICTIONS[self.inferencer.task]
        return [sample.get(key) for sample in found]

    @torch.no_grad()
    def rate(self, documents: Sequence[Document]) -> list[list[Score]]:
        """Rate the candidates of documents: for each the images once.

        Args:
            documents: B of them, with candidates.

        Raises:
            MiniGPT4Error: As of :meth:`answer`.
        """
        images, samples = self._read(documents)
        for sample, document in zip(samples, documents, strict=True):
            sample.set_field(list(document.candidates), 'candidates')
            if not document.text:
                sample.set_field(True, 'bare')
        with _told(*documents):
            feats = self.model.extract_feat(images)
            answerer = self.model.head.answerer
            return [answerer.score(tokens, sample)
                    for tokens, sample in zip(feats, samples, strict=True)]

    def _read(self, documents: Sequence[Document]
              ) -> tuple[list[torch.Tensor], list[DataSample]]:
        """Images as the model wants them, and the questions.

        Returns:
            tuple: B times float[n, 3, H, W], normalised, and B samples.
        """
        pixels, counts, samples = [], [], []
        for document in documents:
            visuals = flatten(document.visuals)
            counts.append(len(visuals))
            with _told(document):
                for batch in self.inferencer.preprocess(
                        [dict(img=image) for image in visuals],
                        batch_size=max(1, len(visuals))):
                    pixels.append(batch['inputs'])
            sample = DataSample()
            sample.set_field(
                place_images(document.text, len(visuals)), 'prompt')
            samples.append(sample)
        if not pixels:
            return [torch.empty(0, 3, 1, 1) for _ in documents], samples
        # B times uint8[n, 3, H, W] -> uint8[sum of n, 3, H, W]
        ready = self.model.data_preprocessor(
            dict(inputs=torch.cat(pixels), data_samples=None), False)
        return list(ready['images'].split(counts)), samples


@contextmanager
def _told(*documents: Document) -> Iterator[None]:
    """Name the documents in a known error."""
    try:
        yield
    except MiniGPT4Error as error:
        names = '; '.join(document.name for document in documents)
        raise type(error)(f'{names}: {error}') from error
