# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Processes that share one language model run it the same number of times.

A sharded layer is gathered by all processes or by none, but answers differ
in length. Processes that are done therefore run dummy forward passes until
the last one is.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakSet

import torch
from mmengine.dist import all_reduce, get_comm_device
from torch import nn
from torch.distributed.fsdp import FSDPModule

from ...errors import ConfigError
from ..checkpointing.run_state import unwrapped

# The language models that are inside of ``lockstep`` now.
_active: WeakSet[nn.Module] = WeakSet()


def is_sharded(model: nn.Module) -> bool:
    """Whether a model's language model is spread over processes."""
    head = getattr(unwrapped(model), 'head', None)
    return isinstance(getattr(head, 'llm', None), FSDPModule)


@contextmanager
def lockstep(model: nn.Module) -> Iterator[None]:
    """Let the processes of a sharded model answer, each at its own length.

    All processes enter and leave together. A process that is done runs the
    language model on a dummy token for as long as another one is busy. With
    a model that is not sharded, nothing happens.

    Args:
        model: The model, wrapped or not.
    """
    if not is_sharded(model):
        yield
        return
    llm = unwrapped(model).head.llm
    handle = llm.register_forward_pre_hook(_report_busy, prepend=True)
    _active.add(llm)
    try:
        try:
            yield
        except Exception:
            # The others finish their answers before they learn of it.
            handle.remove()
            _run_until_all_done(llm)
            raise
        handle.remove()
        _run_until_all_done(llm)
    finally:
        handle.remove()
        _active.discard(llm)


def require_lockstep(llm: nn.Module) -> None:
    """Refuse decoding with a sharded language model outside of lockstep."""
    llm.register_forward_pre_hook(_refuse_alone, with_kwargs=True)


def _report_busy(*_: object) -> None:
    _any_busy(True)


@torch.no_grad()
def _run_until_all_done(llm: nn.Module) -> None:
    dummy = llm.get_input_embeddings().weight[:1, None].detach()
    while _any_busy(False):
        llm(inputs_embeds=dummy, use_cache=False)  # float[1, 1, E]


def _any_busy(busy: bool) -> bool:
    """Whether any process still answers; all ask before each forward."""
    number = torch.tensor(int(busy), device=get_comm_device())
    all_reduce(number, 'max')
    return bool(number)


def _refuse_alone(llm: nn.Module, args: tuple, kwargs: dict) -> None:
    if kwargs.get('use_cache') and llm not in _active:
        # Each would answer in a number of steps of its own, and wait for
        # the others for ever.
        raise ConfigError(
            'A sharded language model answers inside of this package\'s '
            "loops alone: set val_cfg.type='mmpretrain_minigpt4.LossValLoop' "
            "and test_cfg.type='mmpretrain_minigpt4.EvalLoop'.")
