# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""What the language model says at the places where an answer is given.

LLaMA-like models read rows without their padding, and the large product with
the vocabulary is made at answers only. Any other model reads a padded batch.

Legend: B rows, S tokens of all rows, M tokens of all answers, Q visual tokens
of an image, E width of the language model, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ...llm.llama import Llama
from ...ops.transfer import to_device
from .rows import IGNORED, Row


def answer_logits(head, rows: Sequence[Row],
                  visual: Sequence[torch.Tensor]
                  ) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits before each labelled token, and the token.

    Args:
        head: The :class:`~.vicuna.VicunaHead`.
        rows: B rows; a row's first token has no label.
        visual: float[n, Q, E], the images of each row.

    Returns:
        tuple: float32[M, V] and int[M], row after row.
    """
    if reads_fast(head):
        return _by_rows(head, rows, visual)
    inputs, labels = head._embed(rows, visual)
    # The logits of the first prompt, before all answers, are not wanted.
    keep = max(row.num_tail for row in rows) + 1
    some = dict(logits_to_keep=keep) if head._keeps_some else {}
    logits = head.llm(**inputs, **some, use_cache=False).logits
    # Position t foretells token t + 1: float[B, keep - 1, V]
    logits, labels = logits[:, -keep:-1], labels[:, -keep + 1:]
    given = labels != IGNORED
    return logits[given].float(), labels[given]


def reads_fast(head) -> bool:
    """Whether the language model takes the way without padding."""
    llm = head.llm
    drops = llm.training and getattr(llm.config, 'attention_dropout', 0)
    return head.engine.use_fast_forward and not drops and Llama.fits(llm)


def embed_rows(head, rows: Sequence[Row], visual: Sequence[torch.Tensor]
               ) -> torch.Tensor:
    """The tokens of all rows, row after row, float[S, E]."""
    whole = Row([i for row in rows for i in row.ids],
                [i for row in rows for i in row.labels])
    inputs, _ = head._embed([whole], visual)
    return inputs['inputs_embeds'][0]


def _by_rows(head, rows: Sequence[Row], visual: Sequence[torch.Tensor]
             ) -> tuple[torch.Tensor, torch.Tensor]:
    places, answers, start = [], [], 0
    for row in rows:
        for i, label in enumerate(row.labels):
            if label != IGNORED:
                places.append(start + i - 1)
                answers.append(label)
        start += len(row.ids)
    model = Llama(head.llm, head.engine.kernels)
    hidden = model.read(
        embed_rows(head, rows, visual), [len(row.ids) for row in rows])
    device = hidden.device
    # float[S, E] -> float[M, E] -> float[M, V]
    logits = model.lm_head(hidden[to_device(places, device)])
    return logits.float(), to_device(answers, device)
