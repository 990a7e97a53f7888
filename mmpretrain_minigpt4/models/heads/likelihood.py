# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The language model's logits at the tokens of given answers.

LLaMA-like models run over rows without their padding, and the large product
with the vocabulary is made at answers only. Any other model runs over a
padded batch.

Legend: B rows, S tokens of all rows, M tokens of all answers, Q visual tokens
of an image, E width of the language model, V vocabulary.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import torch

from ...generation import EngineConfig
from ...llm.llama import Llama
from ...ops.transfer import to_device
from .prompt_encoder import PromptEncoder
from .rows import IGNORED, Row


def answer_logits(llm: torch.nn.Module, config: EngineConfig,
                  encoder: PromptEncoder, rows: Sequence[Row],
                  visual: Sequence[torch.Tensor]
                  ) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits before each labelled token, and the token.

    Args:
        llm: The language model.
        config: Whether its fast forward pass and kernels are used.
        encoder: Embeds the rows.
        rows: B rows; a row's first token has no label.
        visual: float[n, Q, E], the images of each row.

    Returns:
        tuple: float32[M, V] and int[M], row after row.
    """
    if uses_fast_forward(llm, config):
        return _without_padding(
            Llama(llm, config.kernels), encoder, rows, visual)
    inputs, labels = encoder.embed(rows, visual)
    # The logits of the first prompt, before all answers, are not wanted.
    keep = max(row.num_tail for row in rows) + 1
    if 'logits_to_keep' in inspect.signature(llm.forward).parameters:
        inputs['logits_to_keep'] = keep
    logits = llm(**inputs, use_cache=False).logits
    # Position t predicts token t + 1: float[B, keep - 1, V]
    logits, labels = logits[:, -keep:-1], labels[:, -keep + 1:]
    given = labels != IGNORED
    return logits[given].float(), labels[given]


def uses_fast_forward(llm: torch.nn.Module, config: EngineConfig) -> bool:
    """Whether a language model runs through :class:`~...llm.llama.Llama`."""
    drops = llm.training and getattr(llm.config, 'attention_dropout', 0)
    return config.use_fast_forward and not drops and Llama.fits(llm)


def _without_padding(model: Llama, encoder: PromptEncoder,
                     rows: Sequence[Row], visual: Sequence[torch.Tensor]
                     ) -> tuple[torch.Tensor, torch.Tensor]:
    places, answers, start = [], [], 0
    for row in rows:
        for i, label in enumerate(row.labels):
            if label != IGNORED:
                places.append(start + i - 1)
                answers.append(label)
        start += len(row.ids)
    hidden = model.read(
        encoder.embed_flat(rows, visual), [len(row.ids) for row in rows])
    device = hidden.device
    # float[S, E] -> float[M, E] -> float[M, V]
    logits = model.lm_head(hidden[to_device(places, device)])
    return logits.float(), to_device(answers, device)
