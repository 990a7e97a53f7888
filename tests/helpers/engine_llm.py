# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""A random language model of a few thousand weights, and what to ask it."""

import torch

from mmpretrain_minigpt4.generation import Prompt, Request, StopChecker

VOCAB, WIDTH, END = 24, 16, 2
TABLE = [b'', b'', b''] + [bytes([97 + i]) for i in range(VOCAB - 3)]
SHAPE = dict(
    vocab_size=VOCAB,
    hidden_size=WIDTH,
    intermediate_size=24,
    num_hidden_layers=2,
    num_attention_heads=4,
    initializer_range=0.5)


def build(kind, **settings):
    from transformers import AutoConfig, AutoModelForCausalLM
    torch.manual_seed(1)
    config = AutoConfig.for_model(kind, **{**SHAPE, **settings})
    return AutoModelForCausalLM.from_config(config).eval()


def request(llm, ids, options, *stops, tag=None, stream=False, keys=True):
    table = llm.get_input_embeddings()
    embeds = table(torch.tensor(ids, device=table.weight.device)).detach()
    return Request(
        Prompt(embeds, tuple(ids) if keys else ()), options,
        StopChecker(TABLE, stops, (END, )), tag, stream)


def requests(llm, prompts, options, *stops):
    return [request(llm, ids, options, *stops, tag=i)
            for i, ids in enumerate(prompts)]
