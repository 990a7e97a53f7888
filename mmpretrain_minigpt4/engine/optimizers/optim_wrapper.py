# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Updates that a NaN cannot spoil, in full or mixed precision."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.optim import OptimWrapper as BaseOptimWrapper
from torch import Tensor, nn

from ...errors import ConfigError
from ...registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS

DTYPES = {
    None: None,
    'float32': None,
    'bfloat16': torch.bfloat16,
    'float16': torch.float16,
}


@OPTIM_WRAPPERS.register_module()
class OptimWrapper(BaseOptimWrapper):
    """mmengine's, with guarded steps and autocast on CPU and GPU.

    A step whose loss or gradient is NaN or infinite, in any process and in
    any of the batches accumulated for it, is passed over and counted; the
    training loop ends a run after ``max_bad_steps`` of them in a row. The
    norm of the gradient, before clipping, goes to the log.

    Args:
        optimizer: The optimizer.
        dtype: Autocast to ``bfloat16`` (CPU or GPU) or ``float16`` (GPU
            only, with a dynamic loss scale); None for none.
        loss_scale: With ``float16``: ``dynamic``, a number to begin with,
            or a dict of ``torch.amp.GradScaler``'s arguments.
        max_bad_steps: Bad steps in a row that end a run; 0 for no end.
        **kwargs: ``accumulative_counts`` and ``clip_grad``, as mmengine's.

    Raises:
        ConfigError: If the precision is unknown, or not to be had here.
    """

    def __init__(self,
                 optimizer: torch.optim.Optimizer,
                 dtype: str | None = None,
                 loss_scale: str | float | dict = 'dynamic',
                 max_bad_steps: int = 10,
                 **kwargs: Any) -> None:
        if dtype not in DTYPES:
            raise ConfigError(
                f'optim_wrapper.dtype {dtype!r} is unknown; there are '
                'float32, bfloat16 and float16.')
        if max_bad_steps < 0:
            raise ConfigError('optim_wrapper.max_bad_steps must be 0 or more,'
                              f' got {max_bad_steps}.')
        super().__init__(optimizer, **kwargs)
        self.parameters = [
            p for group in optimizer.param_groups for p in group['params']
            if p.requires_grad
        ]
        if not self.parameters:
            raise ConfigError(
                'Nothing is trained: no parameter of the model needs a '
                'gradient. See model.freeze.')
        self.device = self.parameters[0].device
        self.dtype = DTYPES[dtype]
        self.scaler = None
        if self.dtype is torch.float16:
            if self.device.type == 'cpu':
                raise ConfigError(
                    'optim_wrapper.dtype float16 needs a GPU; on a CPU take '
                    'bfloat16, or leave it out.')
            self.scaler = _scaler(self.device.type, loss_scale)
        self.max_bad_steps = max_bad_steps
        self.bad_steps = 0
        self.bad_in_a_row = 0
        self._bad_loss: Tensor | None = None

    def update_params(self,
                      loss: Tensor,
                      step_kwargs: dict | None = None,
                      zero_kwargs: dict | None = None) -> None:
        """Add a batch's gradient; step when all batches of a step are in."""
        bad = ~torch.isfinite(loss.detach())
        self._bad_loss = bad if self._bad_loss is None else (
            self._bad_loss | bad)
        super().update_params(loss, step_kwargs, zero_kwargs)

    def backward(self, loss: Tensor, **kwargs: Any) -> None:
        """Compute the gradient, scaled in float16."""
        if self.scaler is not None:
            loss = self.scaler.scale(loss)
        super().backward(loss, **kwargs)

    def step(self, **kwargs: Any) -> None:
        """Update the parameters, unless something is not finite."""
        if self.scaler is not None:
            self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.get_total_norm(
            [p.grad for p in self.parameters if p.grad is not None])
        bad_loss = self._bad_loss
        if bad_loss is None:
            bad_loss = torch.zeros((), dtype=torch.bool, device=norm.device)
        self._bad_loss = None
        # One number for both, so that there is one wait for the device.
        state = bad_loss.to(norm.device) * 2 + (~torch.isfinite(norm)) * 1
        if get_world_size() > 1:
            all_reduce(state, 'max')
        state = int(state)
        if state:
            self._pass_over(bad_loss=state >= 2)
        else:
            self.bad_in_a_row = 0
            self.message_hub.update_scalar('train/grad_norm', float(norm))
            if self.clip_grad_kwargs:
                self.clip_func(self.parameters, **self.clip_grad_kwargs)
            if self.scaler is None:
                self.optimizer.step(**kwargs)
            else:
                self.scaler.step(self.optimizer, **kwargs)
        if self.scaler is not None:
            self.scaler.update()
        self.message_hub.update_scalar('train/bad_steps', self.bad_steps)

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast, and no gradient exchange while accumulating."""
        with super().optim_context(model), torch.autocast(
                self.device.type, self.dtype, enabled=self.dtype is not None):
            yield

    def plain_state(self) -> dict[str, Any]:
        """What to remember beside the optimizer's state."""
        base = self.base_param_settings
        if base is not None:
            base = {k: v for k, v in base.items() if k != 'params'}
        return dict(
            bad_steps=self.bad_steps,
            bad_in_a_row=self.bad_in_a_row,
            base=base,
            scaler=None if self.scaler is None else self.scaler.state_dict())

    def load_plain_state(self, state: Mapping[str, Any]) -> None:
        """The reverse of :meth:`plain_state`."""
        self.bad_steps = int(state['bad_steps'])
        # A run that ended for bad steps gets its full number again.
        self.bad_in_a_row = 0
        if self.base_param_settings is not None and state['base'] is not None:
            for key, value in state['base'].items():
                if isinstance(self.base_param_settings.get(key), tuple):
                    value = tuple(value)
                self.base_param_settings[key] = value
        if self.scaler is not None and state['scaler']:
            self.scaler.load_state_dict(state['scaler'])

    def _pass_over(self, bad_loss: bool) -> None:
        # float16 finds its scale by overflowing: that is no bad step.
        if not bad_loss and self.scaler is not None and (
                self.scaler.get_scale() > 1):
            return
        self.bad_steps += 1
        self.bad_in_a_row += 1
        what = 'loss' if bad_loss else 'gradient'
        limit = f' of {self.max_bad_steps}' if self.max_bad_steps else ''
        print_log(
            f'The {what} is NaN or infinite: this step is passed over '
            f'({self.bad_in_a_row}{limit} in a row, {self.bad_steps} in '
            'all).',
            'current',
            level=30)


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class TrainedOnlyConstructor(DefaultOptimWrapperConstructor):
    """Gives the optimizer what is trained, silently passing frozen parts.

    mmengine's warns of each frozen parameter by a line of the log, of which
    a language model has hundreds.
    """

    def add_params(self,
                   params: list[dict],
                   module: nn.Module,
                   prefix: str = '',
                   is_dcn_module: int | float | None = None) -> None:
        """Add a module's parameters, unless all of it is frozen."""
        if any(p.requires_grad for p in module.parameters()):
            super().add_params(params, module, prefix, is_dcn_module)


def _scaler(device: str, loss_scale: str | float | dict):
    if isinstance(loss_scale, Mapping):
        return torch.amp.GradScaler(device, **loss_scale)
    if loss_scale == 'dynamic':
        return torch.amp.GradScaler(device)
    if isinstance(loss_scale, (int, float)) and math.isfinite(loss_scale):
        return torch.amp.GradScaler(device, init_scale=float(loss_scale))
    raise ConfigError(
        f'optim_wrapper.loss_scale {loss_scale!r} must be "dynamic", a '
        'number or a dict.')
