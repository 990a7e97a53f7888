# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Our model and the peer with the same random weights.

The peer P1 is transformers' ``Blip2ForConditionalGeneration`` around a LLaMA:
the same graph, and what a user would take today. Its weights are moved from
ours by the key table of the Hugging Face layout, the one that loads such
checkpoints.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from mmpretrain_minigpt4.checkpoints.conversion import rename
from mmpretrain_minigpt4.checkpoints.layouts import DROP, LAYOUTS
from mmpretrain_minigpt4.errors import ConfigError
from mmpretrain_minigpt4.llm.dtypes import DTYPES
from mmpretrain_minigpt4.llm.quantization.methods import quantize

from .dims import Dims, blip2_config, our_config

# Of a layer's output over its input, at least.
GAIN = 0.7
HUGGING_FACE = next(x for x in LAYOUTS if x.name == 'Hugging Face')


def build_ours(dims: Dims, dtype: str, device: torch.device, seed: int = 0,
               quantization: str = 'none', **head) -> torch.nn.Module:
    """Our model with random weights that nothing ends.

    Args:
        dims: The size.
        dtype: Type of the frozen parts.
        device: Where it is built, and stays.
        seed: Of the weights.
        quantization: Of the language model, once its weights are drawn, so
            that they are those that any other model of this seed has.
        head: More settings of the head.
    """
    from mmpretrain.registry import MODELS
    # On a GPU every tensor is made there: the CPU never holds the model.
    with seeded(seed, device), device:
        model = MODELS.build(our_config(dims, dtype, **head))
        _randomize(model)
    # As the first call would do it, but before weights are counted.
    for part in (model.backbone, model.neck):
        part.to(DTYPES[dtype])
    if quantization != 'none':
        # As the head does with weights that it reads from a folder.
        model.head.llm = quantize(model.head.llm.eval(), quantization)
        model.head.quantization = quantization
    # The tokenizer's own end token must not end an answer either.
    model.head.end_ids = ()
    return model.to(device).eval()


def build_peer(ours: torch.nn.Module, dims: Dims, dtype: str,
               device: torch.device) -> torch.nn.Module:
    """P1 with the weights of our model.

    All of it computes in ``dtype``; transformers would keep the Q-Former of
    a checkpoint in float32, which is slower.

    Args:
        ours: A model as it was built, before its first call.
        dims: Its size.
        dtype: Of all its parts.
        device: Where it is built.

    Raises:
        ConfigError: If a tensor of the peer finds no partner.
    """
    from transformers import AutoModelForImageTextToText, GenerationConfig
    with seeded(0, device), device:
        peer = AutoModelForImageTextToText.from_config(
            blip2_config(dims),
            dtype=DTYPES[dtype],
            attn_implementation='sdpa')
    move_weights(ours, peer)
    peer.vision_model.post_layernorm.eps = ours.backbone.ln_vision.eps
    for model in (peer, peer.language_model):
        # Nothing of a default that samples, stops or limits.
        model.generation_config = GenerationConfig(
            eos_token_id=None, pad_token_id=0, do_sample=False)
    return peer.to(device).eval().requires_grad_(False)


@torch.no_grad()
def move_weights(ours: torch.nn.Module, peer: torch.nn.Module) -> None:
    """Give the peer our weights.

    Frozen tensors of the same type are shared, so that a GPU holds them
    once; the others are copied.

    Raises:
        ConfigError: If a tensor finds no partner of its shape.
    """
    tensors = dict(ours.named_parameters())
    for key, theirs in peer.named_parameters():
        native = rename(key, HUGGING_FACE)
        if native and native.endswith('.attn.qkv.bias'):
            stem = native.removesuffix('qkv.bias')
            q, v = tensors[stem + 'q_bias'], tensors[stem + 'v_bias']
            found = torch.cat((q, torch.zeros_like(q), v))  # [3D]
        elif native in (None, DROP) or native not in tensors:
            raise ConfigError(f'The peer has a tensor {key!r} that is not '
                              'in our model.')
        else:
            found = tensors[native]
        if found.shape != theirs.shape:
            raise ConfigError(
                f'{key!r} is {list(theirs.shape)} in the peer and '
                f'{list(found.shape)} in our model.')
        if found.dtype == theirs.dtype and not found.requires_grad:
            theirs.data = found.data
        else:
            theirs.copy_(found)


@contextlib.contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Draw from a seed, and leave the global random state as it was."""
    with torch.random.fork_rng(
            devices=[device] if device.type == 'cuda' else []):
        torch.manual_seed(seed)
        yield


@torch.no_grad()
def _randomize(model: torch.nn.Module) -> None:
    """Let every weight make a difference.

    Biases of zeros would hide one that was moved to the wrong place, and
    narrow layers with the usual small weights pass so little on that a
    wrong one would drown in what is added to it.
    """
    for module in model.modules():
        if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)):
            weight = module.weight
            gain = weight.float().std() * weight[0].numel()**0.5
            weight *= (GAIN / gain).clamp(min=1).to(weight)
    for parameter in model.parameters():
        if parameter.dim() == 1:
            parameter += 0.05 * torch.randn_like(parameter)
