# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""How likely given answers are, for multiple choice.

Legend: n images of a sample, Q visual tokens of an image, E width of the
language model, M tokens of all candidates, S tokens that are read, V
vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from ...errors import PromptError
from ...llm.llama import Llama
from .likelihood import answer_logits, embed_rows, reads_fast
from .rows import make_row


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
        for of_each in score_candidates_greedy(head, visual, data_samples)
    ]


@torch.no_grad()
def score_candidates_greedy(head, visual: Sequence[torch.Tensor],
                    data_samples: Sequence) -> list[list[Score] | None]:
    """As :func:`score_candidates`, but each with whether it is greedy."""
    return [
        _score(head, tokens, sample) if sample.get('candidates') else None
        for tokens, sample in zip(visual, data_samples, strict=True)
    ]


def _score(head, tokens: torch.Tensor, sample) -> list[Score]:
    prompt, _ = head.prompt_ids(sample, tokens)
    answers = []
    for text in sample.get('candidates'):
        answer = head._tokens().encode(str(text))
        if not str(text).strip() or not answer:
            raise PromptError('A candidate answer is empty. Give each option '
                              'a text.')
        head._check_room(len(prompt) + len(answer))
        answers.append(answer)
    if head.engine.enable_prefix_caching and reads_fast(head):
        logits = _branch_logits(head, prompt, answers, tokens)
        labels = torch.tensor(sum(answers, []), device=logits.device)
    else:
        logits, labels = answer_logits(
            head, [make_row(prompt, answer) for answer in answers],
            [tokens] * len(answers))
    chances = logits.log_softmax(-1)
    chosen = chances.gather(-1, labels.unsqueeze(-1)).squeeze(-1)  # float[M]
    likeliest = chances.argmax(-1) == labels
    sizes = [len(answer) for answer in answers]
    return [
        Score(float(values.mean()), bool(hits.all()))
        for values, hits in zip(
            chosen.split(sizes), likeliest.split(sizes), strict=True)
    ]


def _branch_logits(head, prompt: list[int], answers: list[list[int]],
                   tokens: torch.Tensor) -> torch.Tensor:
    """Read the prompt once, and all answers as branches that it grows.

    Args:
        head: With a LLaMA-like language model.
        prompt: Token ids.
        answers: Token ids of each.
        tokens: float[n, Q, E], the images of the prompt.

    Returns:
        float32[M, V], before each token of each answer.
    """
    ids, positions, places = list(prompt), list(range(len(prompt))), []
    branches = [-1] * len(prompt)
    for number, answer in enumerate(answers):
        # The last token of an answer need not be read.
        begin = len(ids)
        places += [len(prompt) - 1, *range(begin, begin + len(answer) - 1)]
        ids += answer[:-1]
        positions += range(len(prompt), len(prompt) + len(answer) - 1)
        branches += [number] * (len(answer) - 1)
    device = head.llm.get_input_embeddings().weight.device
    owner = torch.tensor(branches, device=device)
    order = torch.arange(len(ids), device=device)
    # bool[S, S]: before it, and of the stem or of the same branch
    seen = (order <= order.unsqueeze(1)) & (
        (owner == -1) | (owner == owner.unsqueeze(1)))
    model = Llama(head.llm, head.engine.kernels)
    bias = torch.zeros(
        seen.shape, dtype=model.dtype, device=device).masked_fill_(
            ~seen, -torch.inf)
    hidden = model.read(
        embed_rows(head, [make_row(ids)], [tokens]), [len(ids)],
        torch.tensor(positions, device=device), bias)
    return model.lm_head(hidden[torch.tensor(places, device=device)]).float()
