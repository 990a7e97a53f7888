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

from ...errors import ConfigError
from ...llm.lora import keeping_lora_type, lora_parameters
from ...llm.quantization.methods import is_quantized
from .launch import check_same_frozen, wrap
from .lockstep import require_lockstep


def shard_language_model(model: nn.Module) -> nn.Module:
    """Spread a model's frozen language model over all processes, in place.

    Args:
        model: A ``MiniGPT4``, whole on the CPU in each process; its other
            parts stay there, to be moved by the caller.

    Returns:
        The model itself; its decoder layers, last norm and output head hold
        a share each. The token embeddings stay whole, and so does LoRA.

    Raises:
        ConfigError: If the language model itself is trained, or quantised.
    """
    head = getattr(model, 'head', None)
    llm = getattr(head, 'llm', None)
    if llm is None:
        raise ConfigError('shard_language_model: this model has no '
                          'language model at head.llm.')
    added = {id(x) for x in lora_parameters(llm).values()}
    if any(x.requires_grad and id(x) not in added for x in llm.parameters()):
        raise ConfigError(
            'shard_language_model is for a frozen language model; here some '
            "of it is trained (is 'head' missing in `freeze`?). Train LoRA "
            'beside it (model.lora), or train it on one card.')
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
        head.engine = replace(head.engine, use_fast_forward=False)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    options = dict(
        mesh=init_device_mesh(device, (get_world_size(), )),
        # Prompts are embedded outside of the model's own call, where nothing
        # gathers; LoRA goes the way of DDP.
        ignored_params={
            *llm.get_input_embeddings().parameters(),
            *lora_parameters(llm).values()})
    for layer in llm.get_decoder().layers:
        fully_shard(layer, reshard_after_forward=True, **options)
    # The rest: last norm and output head. A layer that had no parent would
    # stay gathered after its first use.
    fully_shard(llm, reshard_after_forward=True, **options)
    require_lockstep(llm)
    return model


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
    if hasattr(model.head, 'prepare'):
        with keeping_lora_type(model.head.llm):
            model.head.prepare(torch.device(device))
    shard_language_model(model)
    return wrap(model.to(device), find_unused_parameters,
                check_frozen=False)
