# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""A small language model and prompts that share beginnings."""

import pytest
import torch
from helpers.engine_llm import VOCAB, build


@pytest.fixture(scope='module')
def llm():
    return build('llama')


@pytest.fixture(scope='module')
def prompts(llm):
    """Prompts of token ids, which share beginnings of several lengths."""
    generator = torch.Generator().manual_seed(0)

    def draw(number):
        return torch.randint(3, VOCAB, (number, ),
                             generator=generator).tolist()

    stem = draw(9)
    return [
        stem + draw(3),
        draw(4), stem + draw(7), stem[:6] + draw(2),
        draw(1), stem + draw(1),
        draw(12)
    ]
