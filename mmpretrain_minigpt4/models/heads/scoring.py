# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""How likely given answers are, for multiple choice.

Legend: n images of a sample, Q visual tokens of an image, E width of the
language model, M tokens of all candidates, S tokens that are read, V
vocabulary.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from ...errors import PromptError
from ...generation import EngineConfig
from ...llm.llama import Llama
from .likelihood import answer_logits, uses_fast_forward
from .prompt_encoder import PromptEncoder
from .rows import make_row


class Score(NamedTuple):
    """How likely one answer is.

    ``mean`` is the mean log-probability of its tokens after the prompt; the
    end sign is not counted, so that short and long candidates compare.
    ``greedy`` says whether each token is the likeliest where it stands.
    """
    mean: float
    greedy: bool


@torch.no_grad()
def score_candidates(llm: torch.nn.Module, config: EngineConfig,
                     encoder: PromptEncoder, tokens: torch.Tensor, sample
                     ) -> list[Score] | None:
    """Score the ``candidates`` of a sample.

    Args:
        llm: The language model.
        config: Whether its fast forward pass and kernels are used.
        encoder: Reads and embeds the prompt.
        tokens: float[n, Q, E], the images of the sample.
        sample: A data sample with a prompt and candidates (texts).

    Returns:
        list: For each candidate its score; None without candidates.

    Raises:
        PromptError: If a candidate is empty, or too long.
    """
    candidates = sample.get('candidates')
    if not candidates:
        return None
    prompt, _ = encoder.prompt_ids(sample, tokens)
    answers = []
    for text in candidates:
        answer = encoder.tokenizer.encode(str(text))
        if not str(text).strip() or not answer:
            raise PromptError('A candidate answer is empty. Give each option '
                              'a text.')
        encoder.check_length(len(prompt) + len(answer))
        answers.append(answer)
    if config.enable_prefix_caching and uses_fast_forward(llm, config):
        logits = _branch_logits(
            Llama(llm, config.kernels), encoder, prompt, answers, tokens)
        labels = torch.tensor(sum(answers, []), device=logits.device)
    else:
        logits, labels = answer_logits(
            llm, config, encoder,
            [make_row(prompt, answer) for answer in answers],
            [tokens] * len(answers))
    logprobs = logits.log_softmax(-1)
    chosen = logprobs.gather(-1, labels.unsqueeze(-1)).squeeze(-1)  # float[M]
    likeliest = logprobs.argmax(-1) == labels
    sizes = [len(answer) for answer in answers]
    return [
        Score(float(values.mean()), bool(hits.all()))
        for values, hits in zip(
            chosen.split(sizes), likeliest.split(sizes), strict=True)
    ]


def _branch_logits(model: Llama, encoder: PromptEncoder, prompt: list[int],
                   answers: list[list[int]], tokens: torch.Tensor
                   ) -> torch.Tensor:
    """Run over the prompt once, and over all answers as its branches.

    Args:
        model: The language model.
        encoder: Embeds the tokens.
        prompt: Token ids.
        answers: Token ids of each.
        tokens: float[n, Q, E], the images of the prompt.

    Returns:
        float32[M, V], before each token of each answer.
    """
    ids, positions, places = list(prompt), list(range(len(prompt))), []
    branches = [-1] * len(prompt)
    for number, answer in enumerate(answers):
        # The last token of an answer is only predicted.
        begin = len(ids)
        places += [len(prompt) - 1, *range(begin, begin + len(answer) - 1)]
        ids += answer[:-1]
        positions += range(len(prompt), len(prompt) + len(answer) - 1)
        branches += [number] * (len(answer) - 1)
    device = model.device
    owner = torch.tensor(branches, device=device)
    order = torch.arange(len(ids), device=device)
    # bool[S, S]: before it, and of the stem or of the same branch
    seen = (order <= order.unsqueeze(1)) & (
        (owner == -1) | (owner == owner.unsqueeze(1)))
    bias = torch.zeros(
        seen.shape, dtype=model.dtype, device=device).masked_fill_(
            ~seen, -torch.inf)
    hidden = model.read(
        encoder.embed_flat([make_row(ids)], [tokens]), [len(ids)],
        torch.tensor(positions, device=device), bias)
    return model.lm_head(hidden[torch.tensor(places, device=device)]).float()
