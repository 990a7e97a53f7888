# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""What a run has to remember to go on as if it had never stopped."""

import hashlib
import json
import platform
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import mmengine
import numpy as np
import torch
from mmengine.model import is_model_wrapper
from torch import Tensor, nn

from ... import __version__
from ...errors import CheckpointError

# What may differ between two parts of one run.
RUN_KEYS = ('work_dir', 'resume', 'load_from', 'launcher', 'log_level',
            'visualizer', 'vis_backends', 'env_cfg')


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside of a distributed wrapper."""
    return model.module if is_model_wrapper(model) else model


def trained_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that need a gradient, by name."""
    return {
        name: parameter
        for name, parameter in unwrapped(model).named_parameters()
        if parameter.requires_grad
    }


def load_trained(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy saved weights into a model's trained parameters.

    Raises:
        CheckpointError: If they are not the same parameters.
    """
    parameters = trained_parameters(model)
    if parameters.keys() != tensors.keys():
        odd = sorted(parameters.keys() ^ tensors.keys())
        raise CheckpointError(
            'The checkpoint and the model train different parameters: '
            f'{", ".join(odd[:5])}{" ..." if len(odd) > 5 else ""} are in '
            'one of them only. Resume with the config of the first run.')
    for name, parameter in parameters.items():
        if parameter.shape != tensors[name].shape:
            raise CheckpointError(
                f'{name} is {list(tensors[name].shape)} in the checkpoint '
                f'and {list(parameter.shape)} in the model. Resume with the '
                'config of the first run.')
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[name])


def optimizer_state(model: nn.Module, optimizer: torch.optim.Optimizer
                    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Take an optimizer's state apart into tensors and plain values.

    Args:
        model: The model whose parameters are optimized.
        optimizer: The optimizer.

    Returns:
        tuple: Tensors by ``<parameter>.<key>``, and the groups and other
        values.
    """
    names = {id(p): name for name, p in trained_parameters(model).items()}
    tensors, values = {}, {}
    for parameter, entries in optimizer.state.items():
        if id(parameter) not in names:
            continue
        name = names[id(parameter)]
        for key, value in entries.items():
            if isinstance(value, Tensor):
                tensors[f'{name}.{key}'] = value
            else:
                values.setdefault(name, {})[key] = value
    groups = []
    for group in optimizer.param_groups:
        options = {k: v for k, v in group.items() if k != 'params'}
        options['names'] = [
            names[id(p)] for p in group['params'] if id(p) in names
        ]
        groups.append(options)
    return tensors, dict(groups=groups, values=values)


def load_optimizer_state(model: nn.Module, optimizer: torch.optim.Optimizer,
                         tensors: Mapping[str, Tensor],
                         plain: Mapping[str, Any]) -> None:
    """The reverse of :func:`optimizer_state`.

    Raises:
        CheckpointError: If the optimizer has other groups.
    """
    names = {id(p): name for name, p in trained_parameters(model).items()}
    current = optimizer.state_dict()
    entries: dict[str, dict[str, Any]] = {}
    for key, tensor in tensors.items():
        name, key = key.rsplit('.', 1)
        entries.setdefault(name, {})[key] = tensor
    for name, values in plain['values'].items():
        entries.setdefault(name, {}).update(values)
    groups, state = [], {}
    saved = plain['groups']
    found = [[names[id(p)] for p in group['params'] if id(p) in names]
             for group in optimizer.param_groups]
    if found != [group['names'] for group in saved]:
        raise CheckpointError(
            'The checkpoint and the config group the trained parameters in '
            'different ways; resume with the optim_wrapper of the first run.')
    for group, there, options in zip(
            current['param_groups'], optimizer.param_groups, saved,
            strict=True):
        options = {k: v for k, v in options.items() if k != 'names'}
        for key, value in options.items():
            # JSON knows no tuples; betas were one.
            if isinstance(there.get(key), tuple):
                options[key] = tuple(value)
        groups.append(dict(options, params=group['params']))
        for index, parameter in zip(
                group['params'], there['params'], strict=True):
            name = names.get(id(parameter))
            if name in entries:
                state[index] = entries[name]
    optimizer.load_state_dict(dict(state=state, param_groups=groups))


def random_state() -> dict[str, Tensor]:
    """The state of every random generator of this process, as tensors."""
    version, words, gauss = random.getstate()
    if version != 3:
        raise CheckpointError(f'Python\'s random numbers are of version '
                              f'{version}; this package knows version 3.')
    _, keys, position, has_gauss, numpy_gauss = np.random.get_state()
    # Both keep the second of two normal numbers for the next call.
    normal = [gauss is not None, gauss or 0., has_gauss, numpy_gauss]
    state = dict(
        python=torch.tensor(words, dtype=torch.int64),
        numpy=torch.tensor([*keys.tolist(), position], dtype=torch.int64),
        normal=torch.tensor(normal, dtype=torch.float64),
        torch=torch.get_rng_state())
    if torch.cuda.is_available():
        state['cuda'] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: Mapping[str, Tensor]) -> None:
    """Put every random generator where :func:`random_state` found it."""
    kept, gauss, has_gauss, numpy_gauss = state['normal'].tolist()
    random.setstate((3, tuple(state['python'].tolist()),
                     gauss if kept else None))
    *keys, position = state['numpy'].tolist()
    np.random.set_state(('MT19937', np.array(keys, dtype=np.uint32),
                         position, int(has_gauss), numpy_gauss))
    torch.set_rng_state(state['torch'])
    if 'cuda' in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state['cuda'])


@contextmanager
def same_random_state_after() -> Iterator[None]:
    """Let what runs inside draw numbers that nobody outside will miss."""
    before = random_state()
    try:
        yield
    finally:
        set_random_state(before)


def config_hash(cfg: mmengine.Config) -> str:
    """A digest of what a run was configured with.

    The config itself is not kept: it is code, and a checkpoint must hold
    none.
    """
    content = {
        key: value
        for key, value in cfg.to_dict().items() if key not in RUN_KEYS
    }
    text = json.dumps(content, sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()


def versions() -> dict[str, str]:
    """What wrote a checkpoint."""
    import transformers
    return dict(
        mmpretrain_minigpt4=__version__,
        mmengine=mmengine.__version__,
        python=platform.python_version(),
        torch=torch.__version__,
        transformers=transformers.__version__)
