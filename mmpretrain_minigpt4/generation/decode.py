# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Decoding a batch of prompts, given as embeddings, into answers.

Legend: B prompts, T tokens of the longest prompt, E width of the LLM.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Sequence

import torch

from ..errors import PromptError
from .options import GenerationOptions
from .stopping import Answer, StopMatcher


def decode(llm: torch.nn.Module,
           inputs_embeds: torch.Tensor,
           attention_mask: torch.Tensor,
           options: GenerationOptions,
           matcher: StopMatcher,
           context: int | None = None) -> list[Answer]:
    """Generate one answer for each row of a left-padded batch.

    Rows end one by one, and every row has its own room in the context, so a
    row's greedy answer does not depend on its neighbours. The model's own
    generation settings are neither used nor changed.

    Args:
        llm: A causal language model of transformers.
        inputs_embeds: float[B, T, E], left-padded.
        attention_mask: int[B, T], 0 on padding.
        options: How to decode.
        matcher: What ends a row.
        context: How many tokens, prompt and answer, the model can hold.

    Raises:
        PromptError: If a prompt leaves no room for an answer.
    """
    limits = [
        row_limit(int(length), options, context)
        for length in attention_mask.sum(1)
    ]
    config = _hf_config(llm, options, max(limits), matcher)
    with torch.no_grad(), warnings.catch_warnings(), _seeded(
            options, inputs_embeds.device):
        # That penalties see only what was generated is documented.
        warnings.filterwarnings('ignore', 'Passing .* with `inputs_embeds`')
        tokens = llm.generate(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            generation_config=config,
            stopping_criteria=[_RowStops(matcher, limits)])
    return [
        matcher.answer(row, limit)
        for row, limit in zip(tokens.tolist(), limits, strict=True)
    ]


def row_limit(length: int, options: GenerationOptions,
              context: int | None) -> int:
    """How many tokens may follow a prompt of ``length`` tokens."""
    if context is None:
        return options.max_new_tokens
    if length >= context:
        raise PromptError(
            f'The prompt has {length:,} tokens with its images; the language '
            f'model holds {context:,} of prompt and answer together. Shorten '
            'the text or send fewer images.')
    return min(options.max_new_tokens, context - length)


class _RowStops:
    """Tells transformers, row by row, which rows have ended."""

    def __init__(self, matcher: StopMatcher, limits: Sequence[int]) -> None:
        self.matcher = matcher
        self.limits = limits

    def __call__(self, input_ids: torch.Tensor, scores,
                 **kwargs) -> torch.Tensor:
        # Beam search shows several candidates for each prompt in a row.
        length = input_ids.shape[1]
        copies = max(1, input_ids.shape[0] // len(self.limits))
        window = input_ids[:, -self.matcher.window:].tolist()
        done = [
            length >= self.limits[min(i // copies,
                                      len(self.limits) - 1)]
            or self.matcher.ends(row) for i, row in enumerate(window)
        ]
        return torch.tensor(done, device=input_ids.device)


def _hf_config(llm, options: GenerationOptions, max_new_tokens: int,
               matcher: StopMatcher):
    from transformers import GenerationConfig
    end_ids = sorted(matcher.end_ids)
    config = GenerationConfig()
    # transformers fills what is None from the model's own settings; naming
    # every default keeps a folder's sampling settings out.
    defaults = config._get_default_generation_params()
    for key in ('max_length', 'min_length'):  # for prompts of tokens only
        defaults.pop(key, None)
    config.update(**defaults)
    config.update(
        max_new_tokens=max_new_tokens,
        num_beams=options.num_beams,
        do_sample=options.do_sample,
        repetition_penalty=options.repetition_penalty,
        length_penalty=options.length_penalty,
        no_repeat_ngram_size=options.no_repeat_ngram_size,
        use_cache=True,
        eos_token_id=end_ids or None,
        pad_token_id=end_ids[0] if end_ids else 0)
    if options.do_sample:
        config.update(
            temperature=options.temperature,
            top_p=options.top_p,
            top_k=options.top_k)
    return config


@contextlib.contextmanager
def _seeded(options: GenerationOptions, device: torch.device):
    if not options.do_sample or options.seed is None:
        yield
        return
    devices = [device] if device.type == 'cuda' else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(options.seed)
        yield
