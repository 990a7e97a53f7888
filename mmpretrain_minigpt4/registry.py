# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The package's registries: children of mmengine's root registries.

A child of the root is found under every default scope; a child of another
toolbox's registry is not. What is built through them (each part of a model)
has its settings checked first, so that a slip of the pen is named.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

from mmengine.registry import DATASETS as ROOT_DATASETS
from mmengine.registry import FUNCTIONS as ROOT_FUNCTIONS
from mmengine.registry import HOOKS as ROOT_HOOKS
from mmengine.registry import LOOPS as ROOT_LOOPS
from mmengine.registry import METRICS as ROOT_METRICS
from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.registry import (
    OPTIM_WRAPPER_CONSTRUCTORS as ROOT_OPTIM_WRAPPER_CONSTRUCTORS,
)
from mmengine.registry import OPTIM_WRAPPERS as ROOT_OPTIM_WRAPPERS
from mmengine.registry import PARAM_SCHEDULERS as ROOT_PARAM_SCHEDULERS
from mmengine.registry import RUNNERS as ROOT_RUNNERS
from mmengine.registry import TRANSFORMS as ROOT_TRANSFORMS
from mmengine.registry import VISUALIZERS as ROOT_VISUALIZERS
from mmengine.registry import Registry

from .errors import ConfigError

SCOPE = 'mmpretrain_minigpt4'


def check_settings(cfg: Mapping, cls: type) -> None:
    """Refuse a setting that a class does not have, and name near ones.

    Args:
        cfg: A config, with its ``type`` or without.
        cls: The class that the type stands for.

    Raises:
        ConfigError: If a key is not an argument of the class.
    """
    arguments = inspect.signature(cls).parameters
    if any(x.kind is x.VAR_KEYWORD for x in arguments.values()):
        return
    for key in cfg:
        if key in arguments or key in ('type', '_scope_'):
            continue
        near = get_close_matches(str(key), arguments, n=3)
        hint = f'; near ones: {", ".join(near)}' if near else ''
        raise ConfigError(
            f'{cls.__name__} has no setting "{key}"{hint}. It has '
            f'{", ".join(arguments)}.')


def checks_settings(cls: type) -> type:
    """Let a class check its settings itself, whichever registry builds it.

    A model is built through the toolbox's registry, which only says that an
    argument was not expected.
    """
    init = cls.__init__

    @functools.wraps(init)
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        check_settings(kwargs, type(self))
        init(self, *args, **kwargs)

    cls.__init__ = __init__
    return cls


def _checking(build: Callable) -> Callable:

    def build_checked(cfg: Any, *args, registry: Registry, **kwargs) -> Any:
        if isinstance(cfg, Mapping) and isinstance(cfg.get('type'), str):
            cls = registry.get(cfg['type'])
            if inspect.isclass(cls) and cls.__module__.startswith(SCOPE):
                check_settings(cfg, cls)
        return build(cfg, *args, registry=registry, **kwargs)

    return build_checked


def _child(name: str, parent: Registry, *rooms: str) -> Registry:
    return Registry(
        name,
        build_func=_checking(parent.build_func),
        parent=parent,
        scope=SCOPE,
        locations=[f'{SCOPE}.{room}' for room in rooms])


MODELS = _child('model', ROOT_MODELS, 'models')
DATASETS = _child('dataset', ROOT_DATASETS, 'datasets')
TRANSFORMS = _child('transform', ROOT_TRANSFORMS, 'datasets')
METRICS = _child('metric', ROOT_METRICS, 'evaluation')
HOOKS = _child('hook', ROOT_HOOKS, 'engine')
LOOPS = _child('loop', ROOT_LOOPS, 'engine')
VISUALIZERS = _child('visualizer', ROOT_VISUALIZERS, 'engine')
RUNNERS = _child('runner', ROOT_RUNNERS, 'engine')
OPTIM_WRAPPERS = _child('optim_wrapper', ROOT_OPTIM_WRAPPERS, 'engine')
OPTIM_WRAPPER_CONSTRUCTORS = _child(
    'optimizer wrapper constructor', ROOT_OPTIM_WRAPPER_CONSTRUCTORS,
    'engine')
FUNCTIONS = _child('function', ROOT_FUNCTIONS, 'datasets')
PARAM_SCHEDULERS = _child('parameter scheduler', ROOT_PARAM_SCHEDULERS,
                          'engine')
