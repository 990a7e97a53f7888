# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""A model of the zoo, shrunk to a few thousand parameters."""


import numpy as np
import pytest
import torch
from helpers.tiny_llm import LLAMA, write_tokenizer
from PIL import Image

NAMES = {
    'caption': 'minigpt-4_vicuna-7b_caption',
    'vqa': 'minigpt-4_vicuna-7b_vqa',
}


@pytest.fixture(scope='session')
def small_llm(tmp_path_factory):
    """The folder of a tiny LLaMA with random weights."""
    from transformers import LlamaConfig, LlamaForCausalLM
    folder = tmp_path_factory.mktemp('small_llm')
    settings = {k: v for k, v in LLAMA.items() if k != 'model_type'}
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(
        **settings, initializer_range=0.3)).save_pretrained(folder)
    write_tokenizer(folder / 'tokenizer.model')
    return str(folder)


@pytest.fixture(scope='session')
def shrink(small_llm):
    """What turns the 7B model into one of a few thousand parameters."""
    return dict(
        backbone=dict(
            patch_size=56,
            embed_dims=16,
            num_layers=2,
            num_heads=2,
            feedforward_channels=24),
        neck=dict(
            num_queries=4,
            embed_dims=24,
            num_layers=2,
            num_heads=2,
            feedforward_channels=32,
            encoder_dims=16),
        projector=dict(in_channels=24, out_channels=32),
        head=dict(llm=small_llm, generation=dict(max_new_tokens=8)))


@pytest.fixture(scope='session')
def models(shrink):
    """The two tasks' models, built by the toolbox from their names."""
    from mmpretrain import get_model
    built = {}
    for task, name in NAMES.items():
        torch.manual_seed(0)
        built[task] = get_model(name, **shrink)
        # As drawn, the image does not move a random language model.
        with torch.no_grad():
            built[task].projector.layers[0].weight.mul_(300)
    return built


@pytest.fixture(scope='session')
def picture(tmp_path_factory):
    """The path of a picture whose left is red and whose right is blue."""
    array = np.zeros((40, 60, 3), np.uint8)
    array[:, :30, 0] = 255
    array[:, 30:, 2] = 255
    path = tmp_path_factory.mktemp('pictures') / 'two.halves.png'
    Image.fromarray(array).save(path)
    return path
