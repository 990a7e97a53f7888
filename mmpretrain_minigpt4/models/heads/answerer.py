# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""From visual tokens and data samples to the engine, and answers back.

Legend: B samples, n images of a sample, Q visual tokens of an image, E width
of the language model.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from ...errors import GenerationError, MiniGPT4Error, PromptError
from ...generation import (
    Answer,
    Engine,
    EngineConfig,
    Prompt,
    Request,
    SamplingParams,
    StopChecker,
    answer_all,
    answer_stream,
    row_limit,
)
from ...prompts import TokenIds
from .prompt_encoder import PromptEncoder
from .rows import make_row
from .samples import PREDICTIONS
from .scoring import Score, score_candidates
from .visual_tokens import image_hashes, split, split_images, token_hashes


@dataclass(frozen=True)
class Answerer:
    """Rows in, text out: every answer of the package comes through here.

    Args:
        llm: The language model.
        encoder: Turns samples into rows.
        config: Options of the engine.
        params: Decoding options of samples that bring none.
        end_ids: Tokens that end an answer by themselves.
    """
    llm: torch.nn.Module
    encoder: PromptEncoder
    config: EngineConfig
    params: SamplingParams
    end_ids: Sequence[int]

    @torch.no_grad()
    def generate(self, feats: torch.Tensor | Sequence[torch.Tensor],
                 data_samples: Sequence, **options) -> list[Answer]:
        """Decode an answer for each data sample, which is left as it is.

        Args:
            feats: float[B, Q, E], float[B, n, Q, E] or a list of
                float[n, Q, E].
            data_samples: One for each sample; targets are not read.
            options: Decoding options of this call, over the config's.

        Returns:
            list: Token ids, text, and why the answer ended.

        Raises:
            GenerationError: If an option has no meaning.
            PromptError: If a prompt cannot be read or is too long.
        """
        visual = split(feats, data_samples)
        params = self.sampling_params(options)
        requests = [
            self.request(tokens, sample, params, hashes)
            for tokens, sample, hashes in zip(
                visual, data_samples, image_hashes(visual), strict=True)
        ]
        return answer_all(self.llm, requests, self.encoder.context,
                          self.config)

    def generate_text(self, feats: torch.Tensor, sample=None, **options
                      ) -> Iterator[str]:
        """Decode one answer, piece by piece.

        Pieces never split a character nor hold a part of a stop text;
        together they are the answer's text. Closing the iterator ends the
        decoding.

        Args:
            feats: float[Q, E] or float[n, Q, E], the images of the sample.
            sample: As of :meth:`generate`; None is the config's prompt.
            options: As of :meth:`generate`.
        """
        tokens, = split_images([feats])
        request = self.request(tokens, sample, self.sampling_params(options))
        for event in answer_stream(
                self.llm, [request._replace(stream=True)],
                self.encoder.context, self.config, 1):
            if event.text:
                yield event.text

    def generate_stream(self, inputs: Iterable[tuple],
                        max_num_seqs: int | None = None, **options
                        ) -> Iterator[tuple[object, MiniGPT4Error | None]]:
        """Write answers into samples as they come.

        As soon as a row has ended, the next sample takes its place, so that
        samples may change their order; they are read only as places become
        free.

        Args:
            inputs: For each sample float[n, Q, E], the sample, and perhaps
                hashes of its images, as :meth:`request` takes them.
            max_num_seqs: Samples that are answered at a time; a number in
                the config goes before.
            options: As of :meth:`generate`.

        Returns:
            Iterator: Each sample with its prediction as it is done, and
            None; or, where it cannot be answered, what is wrong with it.
        """
        params = self.sampling_params(options)
        running: dict[int, object] = {}
        refused: list[tuple[object, MiniGPT4Error]] = []

        def requests() -> Iterator[Request]:
            for number, (tokens, sample, *hashes) in enumerate(inputs):
                try:
                    self.set_scores(tokens, sample)
                    request = self.request(tokens, sample, params, *hashes)
                except (PromptError, GenerationError) as error:
                    refused.append((sample, error))
                    continue
                running[number] = sample
                yield request._replace(tag=number)

        config = self.config
        if config.max_num_seqs is None:
            config = replace(config, max_num_seqs=max_num_seqs)
        for event in answer_stream(self.llm, requests(),
                                   self.encoder.context, config):
            while refused:
                yield refused.pop(0)
            if event.answer is not None:
                sample = running.pop(event.tag)
                self.set_prediction(sample, event.answer)
                yield sample, None
        yield from refused

    @torch.no_grad()
    def request(self, tokens: torch.Tensor, sample, params: SamplingParams,
                hashes: Sequence[Hashable] | None = None) -> Request:
        """A sample as a request to the engine.

        Args:
            tokens: float[n, Q, E], its images.
            sample: A data sample, or None for the config's prompt.
            params: Decoding options.
            hashes: Of the n images, equal for equal ones; made from their
                tokens if there are none.
        """
        context, max_length = self.encoder.context, None
        if context is not None:
            # A long conversation leaves space for an answer, up to a quarter
            # of the context.
            max_length = context - min(params.max_new_tokens, context // 4)
        ids, template = self.encoder.prompt_ids(sample, tokens, max_length)
        row_limit(len(ids), params, context)  # raises if nothing may follow
        embeds = self.encoder.embed_flat([make_row(ids)], [tokens])
        stop_checker = StopChecker(
            self.encoder.tokenizer.token_bytes,
            (*template.stops, *params.stops), self.end_ids)
        return Request(Prompt(embeds, token_hashes(ids, tokens, hashes)),
                       params, stop_checker)

    def create_engine(self, max_num_seqs: int = 1) -> Engine:
        """An engine to be kept between calls, as a conversation wants it.

        Args:
            max_num_seqs: Requests that are answered at a time.
        """
        return Engine(self.llm, max_num_seqs, 1, self.encoder.context,
                      self.config)

    def score(self, tokens: torch.Tensor, sample) -> list[Score] | None:
        """Scores of a sample's ``candidates``; None if it has none.

        Args:
            tokens: float[n, Q, E], its images.
            sample: A data sample.
        """
        return score_candidates(self.llm, self.config, self.encoder, tokens,
                                sample)

    def set_scores(self, tokens: torch.Tensor, sample) -> None:
        """Write ``candidate_scores`` into a sample that has candidates."""
        scores = self.score(tokens, sample)
        if scores is not None:
            sample.set_field([score.mean for score in scores],
                             'candidate_scores')

    def set_prediction(self, sample, answer: Answer) -> None:
        """Write an answer's text into a sample, where its task has it."""
        sample.set_field(answer.text, PREDICTIONS[self.encoder.reader.task])

    def to_history(self, answer: Answer) -> str | list[TokenIds]:
        """An answer as a turn of a conversation, in its own tokens.

        Where its end cannot be told apart by tokens it is the text.
        """
        table = self.encoder.tokenizer.token_bytes
        data = b''
        for number, token in enumerate(answer.token_ids, 1):
            data += table[token] if token < len(table) else b''
            if data.decode('utf-8', errors='replace').strip() == answer.text:
                return [TokenIds(tuple(answer.token_ids[:number]))]
        return answer.text

    def sampling_params(self, options: Mapping) -> SamplingParams:
        """The config's decoding options under those of a call."""
        return self.params.replace(**{
            key: value
            for key, value in options.items() if value is not None
        })
