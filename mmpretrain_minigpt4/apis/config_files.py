# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""A config file, or one sentence on what is wrong with it."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mmengine.config import Config

from ..errors import ConfigError


def read_config(path: str | Path) -> Config:
    """Read a config file.

    Args:
        path: A file of Python, YAML or JSON. Of Python it is run: configs
            are code.

    Raises:
        ConfigError: If there is none, or it cannot be read or run.
    """
    if not Path(path).is_file():
        raise ConfigError(
            f'{path}: there is no such config file. The configs of this '
            'package lie in configs/minigpt4/.')
    try:
        return Config.fromfile(path)
    except (OSError, SyntaxError, ImportError) as error:
        raise ConfigError(f'{path}: {error}') from error
    except Exception as error:
        # Whatever its code may raise: a name that is not defined, a key
        # that two bases give, broken YAML.
        raise ConfigError(f'{path}: the config cannot be read '
                          f'({type(error).__name__}: {error}).') from error


def check_config(config: Config, path: str | Path, *needs: str) -> None:
    """Look for what a run cannot do without, and make its folder.

    Args:
        config: With every override merged in.
        path: Where it came from, for errors.
        needs: Keys that must hold a dict, beside ``model``.

    Raises:
        ConfigError: If one is missing, or ``work_dir`` cannot be written to.
    """
    for key in ('model', *needs):
        if not isinstance(config.get(key), Mapping):
            raise ConfigError(
                f'{path} has no {key}: it must be a dict, and is '
                f'{config.get(key)!r}. Start from a config in '
                'configs/minigpt4/.')
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


@contextmanager
def misfits_named(path: str | Path) -> Iterator[None]:
    """Name the config where a part of it has a key that its class lacks.

    mmengine builds some parts of a run when it is built and others when it
    begins.

    Raises:
        ConfigError: In place of the ``TypeError`` of such a class.
    """
    try:
        yield
    except TypeError as error:
        if not re.search(r'__init__\(\) (?:got an unexpected keyword|missing '
                         r'\d+ required)', str(error)):
            raise
        raise ConfigError(f'{path}: {error}. Mend that key of the config, '
                          'or of --cfg-options.') from error
