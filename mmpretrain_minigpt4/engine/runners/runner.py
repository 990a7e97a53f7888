# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""mmengine's Runner, with what a run that must not be lost needs.

A config chooses it by ``runner_type = 'mmpretrain_minigpt4.Runner'``, which
the toolbox's own scripts follow too.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from importlib.util import find_spec
from operator import attrgetter
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import broadcast, is_distributed
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.runner import BaseLoop
from mmengine.runner import Runner as BaseRunner
from mmengine.visualization import Visualizer
from torch import nn
from torch.utils.checkpoint import checkpoint

from ...errors import ConfigError
from ...features.pipeline import look_up
from ...registry import RUNNERS
from ..checkpointing.run_state import trained_parameters, unwrapped
from ..distributed.launch import check_launcher, start_gloo, timeout_of, wrap
from ..distributed.rendezvous import keeps_store, rendezvous
from ..distributed.sharding import wrap_sharded
from ..hooks.training_checkpoint import TrainingCheckpointHook

OURS = 'mmpretrain_minigpt4.'


@RUNNERS.register_module()
class Runner(BaseRunner):
    """mmengine's Runner; what differs:

    * ``resume`` goes on from a checkpoint of
      :class:`~..hooks.training_checkpoint.TrainingCheckpointHook`. mmengine's
      own
      checkpoints are refused: reading one runs the config inside of it.
    * Several processes work on CPUs too (gloo); only what is trained is
      sent between them; a model that would not be shared is refused.
    * The toolbox's ``--amp`` gives this package's optimizer wrapper, in
      float16 on a GPU and bfloat16 on a CPU.
    * ``model.features``, the folder of a feature cache, lets the data sets
      look up features in place of reading images.
    * Where TensorBoard is installed, the log goes there too.
    * ``shard_language_model=True`` spreads a frozen language model over the
      processes; see :mod:`~..distributed.sharding`.
    * ``activation_checkpointing``, a list of modules, recomputes their
      activations in the backward pass; a list of layers counts as each of
      them: ``['head.llm.model.layers']``.
    """

    @classmethod
    def from_cfg(cls, cfg: Config) -> 'Runner':
        """Build a runner; with ``model.features``, images are not read."""
        model = cfg['model']
        if isinstance(model, Mapping) and model.get('features') is not None:
            cfg = copy.deepcopy(cfg)
            if 'SampleAnswersHook' in str(cfg.get('custom_hooks')):
                raise ConfigError(
                    'SampleAnswersHook shows images, and with model.features '
                    'none are read: take one of the two out.')
            for name in ('train_dataloader', 'val_dataloader'):
                if cfg.get(name) is not None:
                    look_up(cfg[name]['dataset'], cfg['model']['features'])
        return super().from_cfg(cfg)

    def setup_env(self, env_cfg: dict) -> None:
        """Connect the processes, then do as mmengine does."""
        check_launcher(self.launcher)
        if self.distributed and not is_distributed():
            known = env_cfg.get('dist_cfg') or {}
            if not torch.cuda.is_available():
                start_gloo(self.launcher, known)
            elif keeps_store():
                store, rank, size = rendezvous(timeout_of(known))
                env_cfg = dict(env_cfg, dist_cfg=dict(
                    known, store=store, rank=rank, world_size=size))
        super().setup_env(env_cfg)

    def wrap_model(self, model_wrapper_cfg: dict | None,
                   model: nn.Module) -> nn.Module:
        """Put the model on its device, and share what is trained."""
        if (not self.distributed or model_wrapper_cfg is not None
                or is_model_wrapper(model)):
            if self.cfg.get('shard_language_model'):
                raise ConfigError(
                    'shard_language_model spreads a model over several '
                    'processes, and there is one: start the script by '
                    'torchrun, without a model_wrapper_cfg.')
            return super().wrap_model(model_wrapper_cfg, model)
        unused = self.cfg.get('find_unused_parameters', False)
        if self.cfg.get('shard_language_model'):
            return wrap_sharded(model, get_device(), unused)
        return wrap(model.to(get_device()), unused)

    def build_visualizer(self, visualizer: Visualizer | dict | None = None
                         ) -> Visualizer:
        """Write to TensorBoard too, where it is installed."""
        if find_spec('tensorboard') is not None:
            visualizer = with_tensorboard(visualizer)
        return super().build_visualizer(visualizer)

    def build_optim_wrapper(self, optim_wrapper: OptimWrapper | dict
                            ) -> OptimWrapper:
        """Build the optimizer over what is trained."""
        if isinstance(optim_wrapper, Mapping):
            optim_wrapper = dict(optim_wrapper)
            if optim_wrapper.get('type') == 'AmpOptimWrapper':
                gpu = torch.cuda.is_available()
                optim_wrapper['type'] = OURS + 'OptimWrapper'
                if optim_wrapper.get('dtype') is None:
                    optim_wrapper['dtype'] = 'float16' if gpu else 'bfloat16'
            if 'constructor' not in optim_wrapper:
                optim_wrapper['constructor'] = OURS + 'TrainedOnlyConstructor'
        return super().build_optim_wrapper(optim_wrapper)

    def train(self) -> nn.Module:
        """Train, from the start or from where a checkpoint ends."""
        if self._resume:
            self.checkpoint_hook()  # before anything is built
        modules = self.cfg.get('activation_checkpointing')
        if modules:
            recompute(unwrapped(self.model), modules)
            # mmengine's own wrapper takes no keyword arguments.
            self.cfg.activation_checkpointing = None
        return super().train()

    def load_or_resume(self) -> None:
        """Resume; or load weights, as mmengine does."""
        if not self._resume or not isinstance(self._train_loop, BaseLoop):
            super().load_or_resume()
        elif not self._has_loaded:
            self.resume(self._load_from)

    def resume(self, filename: str | None = None, *args, **kwargs) -> None:
        """Go on from a checkpoint.

        Args:
            filename: The folder of a checkpoint, or of a run, of which the
                newest whole one is taken; None for this run's own.

        Raises:
            CheckpointError: If there is none there, or it does not fit.
        """
        self.checkpoint_hook().resume(
            self, None if filename is None else Path(filename))
        self._has_loaded = True

    def checkpoint_hook(self) -> TrainingCheckpointHook:
        """The hook that keeps this run's checkpoints.

        Raises:
            ConfigError: If the config has none.
        """
        for hook in self.hooks:
            if isinstance(hook, TrainingCheckpointHook):
                return hook
        raise ConfigError(
            'A run resumes by its TrainingCheckpointHook, and this config '
            'has none: set default_hooks.checkpoint=dict('
            "type='mmpretrain_minigpt4.TrainingCheckpointHook').")

    def _init_model_weights(self) -> None:
        model = unwrapped(self.model)
        if hasattr(model, 'init_weights'):
            model.init_weights()
        for parameter in trained_parameters(model).values():
            broadcast(parameter.data)


def with_tensorboard(visualizer: Visualizer | dict | None
                     ) -> Visualizer | dict | None:
    """Add TensorBoard to the backends of a visualizer's config.

    Args:
        visualizer: The config; anything else is handed on.
    """
    if not isinstance(visualizer, Mapping):
        return visualizer
    backends = visualizer.get('vis_backends') or []
    if not isinstance(backends, list) or any(
            'tensorboard' in str(x.get('type')).lower() for x in backends):
        return visualizer
    return dict(
        visualizer,
        vis_backends=[*backends, dict(type='TensorboardVisBackend')])


def recompute(model: nn.Module, modules: Sequence[str] | str) -> None:
    """Recompute activations of some modules in place of keeping them.

    Args:
        model: The model.
        modules: Names; of a list of layers, each layer is one.

    Raises:
        ConfigError: If the model has no such module.
    """
    for name in [modules] if isinstance(modules, str) else modules:
        try:
            module = attrgetter(name)(model)
        except AttributeError as error:
            raise ConfigError(
                f'activation_checkpointing: the model has no {name!r} '
                f'({error}).') from error
        layers = module if isinstance(module, nn.ModuleList) else [module]
        for layer in layers:
            layer.forward = _recomputing(layer.forward)


def _recomputing(forward: Callable) -> Callable:

    @wraps(forward)
    def wrapper(*args, **kwargs):
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)

    return wrapper
