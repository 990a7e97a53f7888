# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""How a head answers: from visual tokens and samples to the engine and back.

Legend: B samples, n images of a sample, Q visual tokens of an image, E width
of the language model.
"""

from __future__ import annotations

from collections.abc import (
    Hashable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import replace

import torch

from ...errors import GenerationError, MiniGPT4Error, PromptError
from ...generation import (
    Answer,
    Prompt,
    Request,
    SamplingParams,
    StopChecker,
    answer_all,
    answer_stream,
    row_limit,
)
from ...prompts import TokenIds
from .rows import make_row
from .samples import PREDICTIONS
from .scoring import score_candidates
from .visual_tokens import image_hashes, split, split_images, token_hashes


class Answering:
    """The part of :class:`VicunaHead` that decodes."""

    def predict(self, feats: torch.Tensor | Sequence[torch.Tensor],
                data_samples: Sequence | None = None, **options) -> list:
        """Write an answer into each data sample.

        Args:
            feats: As of :meth:`loss`.
            data_samples: Made anew when absent.
            options: Decoding options of this call, over the config's.

        Returns:
            list: The data samples, with ``pred_caption`` or ``pred_answer``
            and, where they have ``candidates``, ``candidate_scores``.
        """
        visual = split_images(feats)
        if data_samples is None:
            data_samples = new_samples(len(visual))
        answers = self.generate(visual, data_samples, **options)
        for sample, answer in zip(data_samples, answers, strict=True):
            sample.set_field(answer.text, PREDICTIONS[self.reader.task])
        self._rate(visual, data_samples)
        return list(data_samples)

    def _rate(self, visual: Sequence[torch.Tensor],
              data_samples: Sequence) -> None:
        scores = score_candidates(self, visual, data_samples)
        for sample, of_each in zip(data_samples, scores, strict=True):
            if of_each is not None:
                sample.set_field(of_each, 'candidate_scores')

    @torch.no_grad()
    def generate(self, feats: torch.Tensor | Sequence[torch.Tensor],
                 data_samples: Sequence, **options) -> list[Answer]:
        """Decode an answer for each data sample, which is left as it is.

        Args:
            feats: As of :meth:`loss`.
            data_samples: As of :meth:`loss`; targets are not read.
            options: As of :meth:`predict`.

        Returns:
            list: Token ids, text, and why the answer ended.

        Raises:
            GenerationError: If an option has no meaning.
            PromptError: If a prompt cannot be read or is too long.
        """
        visual = split(feats, data_samples)
        settings = self.options(options)
        return answer_all(
            self.llm,
            [self.request(tokens, sample, settings, names)
             for tokens, sample, names in zip(
                 visual, data_samples, image_hashes(visual), strict=True)],
            self.context, self.engine)

    def stream(self, feats: torch.Tensor, sample=None,
               **options) -> Iterator[str]:
        """Decode one answer, piece by piece.

        Pieces never split a character nor hold a part of a stop text;
        together they are the answer's text. Closing the iterator ends the
        decoding.

        Args:
            feats: float[Q, E] or float[n, Q, E], the images of the sample.
            sample: As of :meth:`generate`.
            options: As of :meth:`predict`.
        """
        tokens = split_images([feats])[0]
        asked = self.request(tokens, sample, self.options(options))
        for event in answer_stream(
                self.llm, [asked._replace(stream=True)], self.context,
                self.engine, 1):
            if event.text:
                yield event.text

    def answers(self, asked: Iterable[tuple],
                max_num_seqs: int | None = None, **options
                ) -> Iterator[tuple[object, MiniGPT4Error | None]]:
        """Write answers into samples as they come.

        As soon as a row has ended, the next sample takes its place, so that
        samples may change their order; they are read only as places become
        free.

        Args:
            asked: For each float[n, Q, E], a data sample, and perhaps the
                names of its images, as :meth:`request` takes them.
            slots: Samples that are answered at a time; the config's setting
                of the engine goes before.
            options: As of :meth:`predict`.

        Returns:
            Iterator: Each sample as it is done, as of :meth:`predict`, and
            None; or, where it cannot be answered, what is wrong with it.
        """
        settings = self.options(options)
        running: dict[int, object] = {}
        refused: list[tuple[object, MiniGPT4Error]] = []

        def requests() -> Iterator[Request]:
            for number, (tokens, sample, *names) in enumerate(asked):
                try:
                    self._rate([tokens], [sample])
                    request = self.request(
                        tokens, sample, settings, *names)
                except (PromptError, GenerationError) as error:
                    refused.append((sample, error))
                    continue
                running[number] = sample
                yield request._replace(tag=number)

        engine = self.engine
        if engine.max_num_seqs is None:
            engine = replace(engine, max_num_seqs=max_num_seqs)
        for event in answer_stream(self.llm, requests(), self.context,
                                   engine):
            while refused:
                yield refused.pop(0)
            if event.answer is not None:
                sample = running.pop(event.tag)
                sample.set_field(event.answer.text,
                                 PREDICTIONS[self.reader.task])
                yield sample, None
        yield from refused

    @torch.no_grad()
    def request(self, tokens: torch.Tensor, sample,
                options: SamplingParams,
                names: Sequence[Hashable] | None = None) -> Request:
        """What the engine is asked to answer a sample.

        Args:
            tokens: float[n, Q, E], its images.
            sample: A data sample, or None for the config's prompt.
            options: Decoding options.
            names: Of the n images, equal for equal ones; made from their
                tokens if there are none.
        """
        room = None
        if self.context is not None:
            # A long talk leaves room for an answer, up to a quarter of all.
            room = self.context - min(options.max_new_tokens,
                                      self.context // 4)
        ids, template = self.prompt_ids(sample, tokens, room)
        row_limit(len(ids), options, self.context)  # is there room?
        inputs, _ = self._embed([make_row(ids)], [tokens])
        stop_checker = StopChecker(self._tokens().token_bytes,
                              (*template.stops, *options.stops), self.end_ids)
        return Request(
            Prompt(inputs['inputs_embeds'][0],
                   token_hashes(ids, tokens, names)),
            options, stop_checker)

    def as_turn(self, answer: Answer) -> str | list[TokenIds]:
        """An answer as a turn of a conversation, in its own tokens.

        Where its end cannot be told apart by tokens it is the text.
        """
        table = self._tokens().token_bytes
        data = b''
        for number, token in enumerate(answer.token_ids, 1):
            data += table[token] if token < len(table) else b''
            if data.decode('utf-8', errors='replace').strip() == answer.text:
                return [TokenIds(tuple(answer.token_ids[:number]))]
        return answer.text

    def options(self, given: Mapping) -> SamplingParams:
        """The config's decoding options under those of a call."""
        return self.generation.replace(**{
            key: value
            for key, value in given.items() if value is not None
        })


def new_samples(number: int) -> list:
    """Data samples that ask the config's question."""
    from mmpretrain.structures import DataSample
    return [DataSample() for _ in range(number)]
