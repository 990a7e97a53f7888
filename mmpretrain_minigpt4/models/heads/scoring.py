# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""How likely given answers are, for multiple choice.

Legend: n images of a sample, Q visual tokens of an image, E width of the
language model, K candidates, T tokens of the longest row, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from ...errors import PromptError
from .rows import IGNORED, make_row


class Score(NamedTuple):
    """How likely one answer is.

    ``mean`` is the mean log-probability of its tokens; ``greedy`` says
    whether each of them is the likeliest where it stands.
    """
    mean: float
    greedy: bool


def score_candidates(head, visual: Sequence[torch.Tensor],
                     data_samples: Sequence) -> list[list[float] | None]:
    """Score the ``candidates`` of each sample that has any.

    Args:
        head: The :class:`~.vicuna.VicunaHead`.
        visual: float[n, Q, E] for each sample.
        data_samples: Their prompts and candidates (texts).

    Returns:
        list: For each sample None or, for each candidate, the mean
        log-probability of its tokens after the prompt; the end sign is not
        counted, so that short and long candidates compare.

    Raises:
        PromptError: If a candidate is empty, or too long.
    """
    return [
        None if of_each is None else [score.mean for score in of_each]
        for of_each in rate_candidates(head, visual, data_samples)
    ]


@torch.no_grad()
def rate_candidates(head, visual: Sequence[torch.Tensor],
                    data_samples: Sequence) -> list[list[Score] | None]:
    """As :func:`score_candidates`, but each with whether it is greedy."""
    return [
        _score(head, tokens, sample) if sample.get('candidates') else None
        for tokens, sample in zip(visual, data_samples, strict=True)
    ]


def _score(head, tokens: torch.Tensor, sample) -> list[Score]:
    prompt, _ = head.prompt_ids(sample, tokens)
    rows, longest = [], 0
    for text in sample.get('candidates'):
        answer = head._tokens().encode(str(text))
        if not str(text).strip() or not answer:
            raise PromptError('A candidate answer is empty. Give each option '
                              'a text.')
        head._check_room(len(prompt) + len(answer))
        rows.append(make_row(prompt, answer))
        longest = max(longest, len(answer))
    inputs, labels = head._embed(rows, [tokens] * len(rows))
    # Answers stand at the end of every row; the prompt's logits are not
    # wanted and would take most memory.
    keep = longest + 1
    some = dict(logits_to_keep=keep) if head._keeps_some else {}
    logits = head.llm(**inputs, **some, use_cache=False).logits
    # Position t foretells token t + 1: float[K, keep - 1, V]
    chances = logits[:, -keep:-1].float().log_softmax(-1)
    labels = labels[:, -keep + 1:]
    mask = labels != IGNORED
    chosen = chances.gather(-1, labels.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    likeliest = (chances.argmax(-1) == labels) | ~mask
    # float[K, keep - 1] -> float[K]
    means = (chosen * mask).sum(1) / mask.sum(1)
    return [
        Score(*each) for each in zip(
            means.tolist(), likeliest.all(1).tolist(), strict=True)
    ]
