# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""From data samples to rows of token ids, and from rows to embeddings.

Legend: B rows, T tokens of the longest row, S tokens of all rows, n images of
a sample, Q visual tokens of an image, E width of the language model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ...errors import ConfigError, PromptError
from ...llm.tokenizer import TextTokenizer
from ...ops.transfer import tensor_to_device
from ...prompts import Piece, Template
from .history import truncate_history
from .rows import IMAGE_ID, Row, collate, make_row, tokenize, tokenize_answer
from .samples import SampleReader
from .visual_tokens import check_image_count


@dataclass(frozen=True)
class PromptEncoder:
    """Samples in, rows out.

    Args:
        reader: Reads the prompt and the target of a data sample.
        text_tokenizer: Of the language model; None if it has none.
        embedding: The language model's table of input embeddings.
        context: How many tokens it holds; None is no limit.
        max_txt_len: At most this many tokens of an answer are trained on.
    """
    reader: SampleReader
    text_tokenizer: TextTokenizer | None
    embedding: torch.nn.Module
    context: int | None
    max_txt_len: int

    @property
    def tokenizer(self) -> TextTokenizer:
        """The tokenizer.

        Raises:
            ConfigError: If the language model has none.
        """
        if self.text_tokenizer is None:
            raise ConfigError('The language model was built from a config '
                              'and has no tokenizer. Name a folder that has '
                              'one by `tokenizer=`.')
        return self.text_tokenizer

    def row(self, pieces: Sequence[Piece], tokens: torch.Tensor) -> Row:
        """A row of a prompt that is given as pieces.

        Args:
            pieces: Taken as they are.
            tokens: float[n, Q, E], the images of the prompt.
        """
        row = make_row(self._ids(pieces, tokens))
        self.check_length(len(row.ids))
        return row

    def training_row(self, sample, tokens: torch.Tensor) -> Row:
        """A sample with its answers; they and their ends are labelled.

        Args:
            sample: A data sample with a target.
            tokens: float[n, Q, E], its images.
        """
        parts, template = self.reader.exchanges(sample, len(tokens))
        check_image_count([piece for pieces, _ in parts for piece in pieces],
                          tokens)
        row = Row([], [])
        for pieces, answer in parts:
            row += make_row(
                tokenize(pieces, self.tokenizer, tokens.shape[-2]),
                tokenize_answer(answer, template, self.tokenizer,
                                self.max_txt_len))
        self.check_length(len(row.ids))
        return row

    def prompt_ids(self, sample, tokens: torch.Tensor,
                   max_length: int | None = None
                   ) -> tuple[list[int], Template]:
        """A sample's prompt as ids, and the template it was rendered by.

        Args:
            sample: A data sample, or None for the config's prompt.
            tokens: float[n, Q, E], its images.
            max_length: A conversation loses its oldest turns until it has at
                most so many tokens; beginning, system text, images and the
                last turn stay.
        """
        def ids_of(sample) -> tuple[list[int], Template]:
            pieces, template = self.reader.prompt(sample, len(tokens))
            return self._ids(pieces, tokens), template

        ids, template = ids_of(sample)
        turns = self.reader.turns(sample)
        least, most = 1, len(turns) // 2
        if max_length is None or len(ids) <= max_length or not most:
            return ids, template
        while True:
            # How many answered turns have to go, by bisection.
            number = (least + most) // 2
            kept = truncate_history(turns, number, len(tokens), template)
            ids, _ = ids_of(
                dict(conversation=kept, system=sample.get('system')))
            if least == most:
                return ids, template
            least, most = ((least, number) if len(ids) <= max_length else
                           (number + 1, most))

    def embed(self, rows: Sequence[Row], visual: Sequence[torch.Tensor]
              ) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Rows as a left-padded batch, and their labels.

        Args:
            rows: B rows.
            visual: float[n, Q, E], the images of each row.

        Returns:
            tuple: ``inputs_embeds``, float[B, T, E], ``attention_mask`` and
            ``position_ids``, int[B, T]; and the labels, int[B, T].
        """
        device = self.embedding.weight.device
        batch = collate(rows)
        # Found on the host, which need not wait for the device then.
        slots = (batch[0] == IMAGE_ID).nonzero(as_tuple=True)
        ids, mask, positions, labels = (
            tensor_to_device(x, device) for x in batch)
        embeds = self.embedding(ids.clamp(min=0))  # float[B, T, E]
        if len(slots[0]):
            # Rows in order, images in order: float[sum of n * Q, E]
            tokens = torch.cat([x.flatten(0, 1) for x in visual])
            if tokens.shape[-1] != embeds.shape[-1]:
                raise ConfigError(
                    f'Visual tokens are {tokens.shape[-1]} wide, the language '
                    f'model wants {embeds.shape[-1]}. Check out_channels of '
                    'the projector.')
            embeds = embeds.index_put(
                tuple(tensor_to_device(x, device) for x in slots),
                tokens.to(embeds))
        return dict(
            inputs_embeds=embeds, attention_mask=mask,
            position_ids=positions), labels

    def embed_flat(self, rows: Sequence[Row], visual: Sequence[torch.Tensor]
                   ) -> torch.Tensor:
        """The tokens of all rows, row after row, float[S, E]."""
        flat = Row([i for row in rows for i in row.ids],
                   [i for row in rows for i in row.labels])
        inputs, _ = self.embed([flat], visual)
        return inputs['inputs_embeds'][0]

    def check_length(self, length: int) -> None:
        """Compare a number of tokens with the context length.

        Raises:
            PromptError: If there are more.
        """
        if self.context is not None and length > self.context:
            raise PromptError(
                f'Prompt, images and answer need {length:,} tokens; the '
                f'language model holds {self.context:,}. Shorten the text or '
                'send fewer images.')

    def _ids(self, pieces: Sequence[Piece], tokens: torch.Tensor
             ) -> list[int]:
        check_image_count(pieces, tokens)
        return tokenize(pieces, self.tokenizer, tokens.shape[-2])
