# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""From pieces to token rows, and from rows to one left-padded batch.

Legend: B rows, T tokens of the longest row, Q visual tokens of an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ...errors import PromptError
from ...llm.tokenizer import TextTokenizer
from ...prompts import ImageSlot, Mark, Piece, Template, TokenIds, join

IMAGE_ID = -1  # stands for one visual token
IGNORED = -100


@dataclass
class Row:
    """Token ids with ``IMAGE_ID`` for each visual token, and labels."""
    ids: list[int]
    labels: list[int]

    def __add__(self, other: Row) -> Row:
        return Row(self.ids + other.ids, self.labels + other.labels)

    @property
    def num_tail(self) -> int:
        """Tokens from the first labelled one on."""
        for i, label in enumerate(self.labels):
            if label != IGNORED:
                return len(self.labels) - i
        return 0


def tokenize(pieces: Sequence[Piece], tokenizer: TextTokenizer,
             num_tokens: int) -> list[int]:
    """Each text alone, without marks; an image is ``num_tokens`` ids.

    Args:
        pieces: What :func:`prompts.render` gives.
        tokenizer: The language model's.
        num_tokens: Visual tokens of an image.
    """
    ids: list[int] = []
    for piece in join(pieces):
        if isinstance(piece, str):
            ids += tokenizer.encode(piece)
        elif isinstance(piece, ImageSlot):
            ids += [IMAGE_ID] * num_tokens
        elif isinstance(piece, TokenIds):
            ids += piece.ids
        else:
            index = (tokenizer.bos_id
                     if piece is Mark.BOS else tokenizer.eos_id)
            ids += [] if index is None else [index]
    return ids


def tokenize_answer(answer: str, template: Template,
                    tokenizer: TextTokenizer, max_txt_len: int) -> list[int]:
    """An answer and its end as one text, cut to ``max_txt_len`` tokens.

    The end is never what is cut: a model that does not learn to end goes on.
    """
    marks = []
    if template.end_mark and tokenizer.eos_id is not None:
        marks = [tokenizer.eos_id]
    room = max_txt_len - len(marks)
    ids = tokenizer.encode(answer + template.end)
    if len(ids) <= room:
        return ids + marks
    words = tokenizer.encode(answer)
    # How the end is spelt depends on what stands before it, so it is read
    # anew with each try.
    for keep in range(room, -1, -1):
        cut = tokenizer.decode(words[:keep]).rstrip('\ufffd')
        ids = tokenizer.encode(cut + template.end)
        if len(ids) <= room:
            return ids + marks
    raise PromptError(f'max_txt_len={max_txt_len} has no room for the end '
                      f'{template.end!r} of an answer. Set a larger one.')


def make_row(prompt: list[int], answer: list[int] | None = None) -> Row:
    """A prompt and perhaps its answer; only the answer is labelled."""
    answer = answer or []
    return Row(prompt + answer, [IGNORED] * len(prompt) + answer)


def collate(rows: Sequence[Row]) -> tuple[torch.Tensor, ...]:
    """Pad on the left, so that all rows end together, on the host.

    Returns:
        tuple: ids, attention mask, position ids and labels, int[B, T] each.
        Positions begin at 0 with each row's first token.
    """
    longest = max(len(row.ids) for row in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    labels = torch.full_like(ids, IGNORED)
    for i, row in enumerate(rows):
        start = longest - len(row.ids)
        ids[i, start:] = torch.tensor(row.ids, dtype=torch.long)
        labels[i, start:] = torch.tensor(row.labels, dtype=torch.long)
        mask[i, start:] = 1
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    return ids, mask, positions, labels
