# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""What a run needs of its config, or one sentence on what is wrong."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..errors import ConfigError
from ..zoo import read_config

__all__ = [
    'check_config', 'check_loader', 'naming_config_errors', 'read_config',
    'set_precision'
]

# Numbers of a data loader, and the least that has a meaning. PyTorch refuses
# the others too, deep inside and without the key's name.
LEAST = dict(batch_size=1, num_workers=0)


def check_config(config: Config, path: str | Path, *needs: str) -> None:
    """Look for what a run cannot do without, and make its folder.

    Args:
        config: With every override merged in.
        path: Where it came from, for errors.
        needs: Keys that must hold a dict, beside ``model``.

    Raises:
        ConfigError: If one is missing, a data loader's number has no
            meaning, or ``work_dir`` cannot be written to.
    """
    for key in ('model', *needs):
        if not isinstance(config.get(key), Mapping):
            raise ConfigError(
                f'{path} has no {key}: it must be a dict, and is '
                f'{config.get(key)!r}. Start from a config in '
                'configs/minigpt4/.')
    if 'optim_wrapper' in needs:
        optimizer = config.optim_wrapper.get('optimizer')
        rate = optimizer.get('lr') if isinstance(optimizer, Mapping) else None
        if not isinstance(rate, (int, float, type(None))):
            raise ConfigError(f'optim_wrapper.optimizer.lr={rate!r}: give a '
                              'number.')
    for key in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        check_loader(key, config.get(key))
    folder = config.get('work_dir')
    try:
        os.makedirs(folder, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError('writing is not permitted')
    except OSError as error:
        raise ConfigError(
            f'work_dir {folder!r} cannot be written to: '
            f'{error.strerror or error}. Choose another --work-dir.'
        ) from error


def set_precision(config: Config, dtype: str | None = None,
                  quantization: str | None = None) -> None:
    """Put a type and bits into a config, where they are given.

    Args:
        config: Of a run.
        dtype: Of all parts.
        quantization: Of the language model.

    Raises:
        ConfigError: If the config has no model of this package.
    """
    if dtype is None and quantization is None:
        return
    model = config.get('model') or {}
    if model.get('head') is None:
        raise ConfigError(
            '--dtype and --quantization are for a config whose model has a '
            'head that is a language model; this one has none.')
    if dtype is not None:
        model.dtype = model.head.dtype = dtype
    if quantization is not None:
        model.head.quantization = quantization


def check_loader(key: str, loader: Any) -> None:
    """Check the numbers of a data loader.

    Args:
        key: Its key in the config.
        loader: Its settings; anything else is passed over.

    Raises:
        ConfigError: If one has no meaning.
    """
    if not isinstance(loader, Mapping):
        return  # none, or one that is built already
    for name, least in LEAST.items():
        value = loader.get(name, least)
        if isinstance(value, int) and value >= least:
            continue
        if name == 'batch_size' and 'batch_sampler' in loader:
            continue  # which has a size of its own
        raise ConfigError(
            f'{key}.{name}={value!r}: give a whole number of {least} or '
            'more, in the config or by --cfg-options.')


@contextmanager
def naming_config_errors(path: str | Path) -> Iterator[None]:
    """Name the config where a part has a key or a type that is not known.

    mmengine builds some parts of a run when it is built and others when it
    begins.

    Raises:
        ConfigError: In place of the ``TypeError`` of such a class, and of
            the ``KeyError`` of a registry without it.
    """
    try:
        yield
    except TypeError as error:
        if 'None is not a callable object' in str(error):
            raise ConfigError(
                f'{path}: optim_wrapper.optimizer.type names no optimizer '
                'that is known. Mend it, for instance to AdamW.') from error
        if not re.search(r'__init__\(\) (?:got an unexpected keyword|missing '
                         r'\d+ required)', str(error)):
            raise
        raise ConfigError(f'{path}: {error}. Mend that key of the config, '
                          'or of --cfg-options.') from error
    except KeyError as error:
        found = re.match(r'(\S+ is not in the \S+ registry)',
                         str(error.args[0] if error.args else ''))
        if found is None:
            raise
        raise ConfigError(
            f'{path}: {found.group(1)}. Mend that type in the config or in '
            '--cfg-options, or import its package by custom_imports.'
        ) from error
