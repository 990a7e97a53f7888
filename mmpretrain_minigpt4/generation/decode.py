# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Decoding a list of prompts into a list of answers.

Legend: B prompts, T tokens of the longest prompt, E width of the LLM.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import torch

from .decoder_pool import put
from .engine import Engine, Event, Request
from .engine_config import EngineConfig
from .prompt import Prompt
from .sampling_params import SamplingParams
from .stop_criteria import Answer, StopChecker


def decode(llm: torch.nn.Module,
           inputs_embeds: torch.Tensor,
           attention_mask: torch.Tensor,
           options: SamplingParams,
           stop_checker: StopChecker,
           context: int | None = None,
           settings: EngineConfig | None = None) -> list[Answer]:
    """Generate one answer for each row of a padded batch.

    Rows end one by one, and every row has its own room in the context, so a
    row's greedy answer does not depend on its neighbours. The model's own
    generation settings are neither used nor changed.

    Args:
        llm: A causal language model of transformers.
        inputs_embeds: float[B, T, E].
        attention_mask: int[B, T], 0 on padding.
        options: How to decode.
        stop_checker: What ends a row.
        context: How many tokens, prompt and answer, the model can hold.
        settings: How the engine works; no choice changes a text.

    Raises:
        PromptError: If a prompt leaves no room for an answer.
    """
    prompts = [
        Prompt(row[kept.bool()])
        for row, kept in zip(inputs_embeds, attention_mask, strict=True)
    ]
    return answer_all(
        llm, [Request(prompt, options, stop_checker) for prompt in prompts],
        context, settings)


def answer_all(llm: torch.nn.Module,
               requests: Sequence[Request],
               context: int | None = None,
               settings: EngineConfig | None = None) -> list[Answer]:
    """Answer requests, in their order; their tags are not looked at.

    All of them run at a time, unless the settings name a number of slots.

    Args:
        llm: A causal language model of transformers.
        requests: All with the same number of beams.
        context: How many tokens, prompt and answer, the model can hold.
        settings: How the engine works.
    """
    answers: list[Answer] = [None] * len(requests)
    numbered = (request._replace(tag=i)
                for i, request in enumerate(requests))
    settings = settings or EngineConfig()
    if settings.max_num_seqs is None and requests:
        settings = replace(settings, max_num_seqs=len(requests))
    for event in answer_stream(llm, numbered, context, settings,
                               len(requests)):
        if event.answer is not None:
            answers[event.tag] = event.answer
    return answers


def answer_stream(llm: torch.nn.Module,
                  requests: Iterable[Request],
                  context: int | None = None,
                  settings: EngineConfig | None = None,
                  most: int | None = None) -> Iterator[Event]:
    """Answer requests as they come; answers come as they are done.

    Args:
        llm: A causal language model of transformers.
        requests: All with the same number of beams; taken lazily.
        context: How many tokens, prompt and answer, the model can hold.
        settings: How the engine works.
        most: The number of requests, where it is known.
    """
    source = iter(requests)
    first = next(source, None)
    if first is None:
        return
    settings = settings or EngineConfig()
    max_num_seqs = settings.max_num_seqs_on(
        llm.get_input_embeddings().weight.device)
    if most is not None:
        max_num_seqs = min(max_num_seqs, most)

    def all_of_them() -> Iterator[Request]:
        yield first
        yield from source

    engine = Engine(llm, max_num_seqs, first.options.num_beams, context,
                    settings)
    yield from engine.run(all_of_them())
    put(llm, engine.decoder)
