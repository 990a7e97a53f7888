# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""A tiny MiniGPT4 around a language model that lies in a real folder."""

import json

import pytest
import torch

from helpers.tiny_llm import LLAMA, write_tokenizer
from mmpretrain_minigpt4.models.heads import VicunaHead
from mmpretrain_minigpt4.registry import MODELS


@pytest.fixture(scope='session')
def llm_folder(tmp_path_factory):
    """A LLaMA folder: config.json, model.safetensors, tokenizer.model.

    Its generation settings are those that must not leak into decoding.
    """
    from transformers import LlamaConfig, LlamaForCausalLM
    folder = tmp_path_factory.mktemp('llm')
    settings = {k: v for k, v in LLAMA.items() if k != 'model_type'}
    torch.manual_seed(0)
    llm = LlamaForCausalLM(LlamaConfig(**settings, initializer_range=0.3))
    llm.save_pretrained(folder)
    (folder / 'generation_config.json').write_text(
        json.dumps(
            dict(
                do_sample=True,
                temperature=0.1,
                top_p=0.2,
                repetition_penalty=5.0,
                max_length=7,
                eos_token_id=2)))
    write_tokenizer(folder / 'tokenizer.model')
    return folder


@pytest.fixture
def tiny(llm_folder):
    """The config of a tiny MiniGPT4 around that language model."""
    ours = 'mmpretrain_minigpt4.'
    return dict(
        type=ours + 'MiniGPT4',
        backbone=dict(
            type=ours + 'EVAViT',
            img_size=28,
            patch_size=14,
            embed_dims=16,
            num_layers=2,
            num_heads=2,
            feedforward_channels=24),
        neck=dict(
            type=ours + 'QFormer',
            num_queries=4,
            embed_dims=24,
            num_layers=2,
            num_heads=2,
            feedforward_channels=32,
            encoder_dims=16),
        projector=dict(
            type=ours + 'LinearProjector', in_channels=24, out_channels=32),
        head=dict(
            type=ours + 'VicunaHead',
            llm=str(llm_folder),
            generation=dict(max_new_tokens=10)))


@pytest.fixture
def model(tiny):
    torch.manual_seed(0)
    return MODELS.build(tiny)


@pytest.fixture
def images():
    return torch.randn(
        2, 3, 28, 28, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope='module')
def head(llm_folder):
    return VicunaHead(
        llm=str(llm_folder), generation=dict(max_new_tokens=8))


@pytest.fixture(scope='module')
def visual():
    """Visual tokens of four images, three each."""
    return torch.randn(4, 3, 32, generator=torch.Generator().manual_seed(3))
