# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Speed, padding, memory and time left, for the log."""

import sys
import time
from typing import Any

import torch
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn

from ...registry import HOOKS
from ..checkpointing.run_state import unwrapped
from ..runners.val_loop import count_samples


@HOOKS.register_module()
class TrainingStatsHook(Hook):
    """Adds numbers to each line of the training's log.

    * ``pairs_per_second``: samples of all processes, data loading included,
      validation and checkpoints not;
    * ``padding``: the share of the language model's positions that hold no
      token, of this process's batch;
    * ``memory_mb``: the most this process has used, of the GPU if there is
      one;
    * ``hours_left``.

    The learning rate is mmengine's own; ``grad_norm`` and ``bad_steps`` are
    the optimizer wrapper's.
    """

    def __init__(self) -> None:
        self._handle = None
        self._padding: Tensor | None = None

    def before_train(self, runner: Runner) -> None:
        """Watch the language model's attention mask."""
        llm = getattr(getattr(unwrapped(runner.model), 'head', None), 'llm',
                      None)
        if isinstance(llm, nn.Module):
            self._handle = llm.register_forward_pre_hook(
                self._see_mask, with_kwargs=True)

    def after_train(self, runner: Runner) -> None:
        """Let go of the language model."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def after_train_iter(self,
                         runner: Runner,
                         batch_idx: int,
                         data_batch: Any = None,
                         outputs: Any = None) -> None:
        """Write the numbers of a step."""
        hub = runner.message_hub
        began = getattr(runner.train_loop, 'step_began', None)
        if data_batch is not None and began is not None:
            seconds = max(time.perf_counter() - began, 1e-9)
            pairs = count_samples(data_batch) * get_world_size()
            hub.update_scalar('train/pairs_per_second', pairs / seconds)
        if self._padding is not None:
            hub.update_scalar('train/padding', float(self._padding))
            self._padding = None
        hub.update_scalar('train/memory_mb', peak_memory_mb())
        if 'eta' in hub.runtime_info:
            hub.update_scalar('train/hours_left',
                              hub.get_info('eta') / 3600)

    def _see_mask(self, module: nn.Module, args: tuple,
                  kwargs: dict[str, Any]) -> None:
        mask = kwargs.get('attention_mask')
        if torch.is_grad_enabled() and isinstance(mask, Tensor) and (
                mask.dim() == 2):
            self._padding = 1 - mask.float().mean()


def peak_memory_mb() -> float:
    """The most memory this process has used, in MiB."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    try:
        import resource
    except ImportError:  # Windows
        return 0.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == 'darwin' else peak / 2**10
