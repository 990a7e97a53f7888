# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""A frozen language model that is spread over the processes of a run.

Each process keeps its share of every decoder layer, and gathers one layer
at a time to compute with it: FSDP2, ``torch.distributed.fsdp.fully_shard``.
What is trained stays whole in every process, as under DDP.
"""

from dataclasses import replace

import torch
from mmengine.dist import get_world_size
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from ..errors import ConfigError
from ..models.quantization import is_quantized
from .distributed import check_same_frozen, wrap


def shard_language_model(model: nn.Module) -> nn.Module:
    """Spread a model's frozen language model over all processes, in place.

    Args:
        model: A ``MiniGPT4``, whole on the CPU in each process; its other
            parts stay there, to be moved by the caller.

    Returns:
        The model itself; its decoder layers, embeddings and output head
        hold a share each.

    Raises:
        ConfigError: If the language model is trained, or quantised.
    """
    head = getattr(model, 'head', None)
    llm = getattr(head, 'llm', None)
    if llm is None:
        raise ConfigError('shard_language_model: this model has no '
                          'language model at head.llm.')
    if any(x.requires_grad for x in llm.parameters()):
        raise ConfigError(
            'shard_language_model is for a frozen language model; here some '
            "of it is trained (is 'head' missing in `freeze`, or is there a "
            'LoRA?). Train that on one card, or quantise.')
    if is_quantized(llm):
        raise ConfigError(
            'A language model is either quantised or sharded: quantise '
            'first, and shard only what does not fit then, without '
            'quantization.')
    if get_world_size() < 2:
        raise ConfigError('shard_language_model=True spreads a model over '
                          'several processes, and there is one: start the '
                          'script by torchrun.')
    if hasattr(head, 'engine'):
        # The fast way goes around the layers' own calls, which gather.
        head.engine = replace(head.engine, fast=False)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    mesh = init_device_mesh(device, (get_world_size(), ))
    for layer in llm.get_decoder().layers:
        fully_shard(layer, mesh=mesh)
    # Embeddings, last norm and output head; they are called by themselves,
    # so each is a unit of its own.
    for part in (llm.get_input_embeddings(), llm.get_output_embeddings()):
        if part is not None:
            fully_shard(part, mesh=mesh)
    llm.register_forward_pre_hook(_refuse_answers, with_kwargs=True)
    return model


def _refuse_answers(llm: nn.Module, args: tuple, kwargs: dict) -> None:
    if kwargs.get('use_cache'):
        # Each would answer in a number of steps of its own, and wait for
        # the others for ever.
        raise ConfigError(
            'A sharded language model is for training and for validation '
            'losses; answers are for a whole one. Leave SampleAnswersHook '
            'out, and test without shard_language_model.')


def wrap_sharded(model: nn.Module, device: torch.device | str,
                 find_unused_parameters: bool = False) -> nn.Module:
    """Shard a model's language model and share the gradients of the rest.

    Args:
        model: A ``MiniGPT4``, whole on the CPU in each process.
        device: Where this process computes.
        find_unused_parameters: As of DistributedDataParallel.
    """
    # Compared while whole; what has become a share cannot be.
    check_same_frozen(model)
    # Types are chosen before: a share cannot change its own.
    if hasattr(model.head, 'settle'):
        model.head.settle(torch.device(device))
    shard_language_model(model)
    return wrap(model.to(device), find_unused_parameters,
                check_frozen=False)
