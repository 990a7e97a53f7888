# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The package's models in the toolbox's model index.

``compat.py`` calls :func:`register` when mmpretrain first reads its own
index, so that importing the package costs nothing.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .checkpoints import download as weight_files
from .errors import ConfigError, MissingWeightsError

PACKAGE = Path(__file__).resolve().parent

# mmpretrain's own entries of this family, whose code does not run on today's
# transformers; one of them has a name that is ours as well.
REPLACED = ('minigpt-4_vicuna-7b_caption', 'minigpt-4_baichuan-7b_caption')


def root() -> Path:
    """Return the folder of ``model-index.yml`` and ``configs``.

    It is the checkout's root, or ``.mim`` inside an installed package.

    Raises:
        FileNotFoundError: If neither holds a model index.
    """
    for folder in (PACKAGE.parent, PACKAGE / '.mim'):
        if (folder / 'model-index.yml').is_file() and (
                folder / 'configs' / 'minigpt4').is_dir():
            return folder
    raise FileNotFoundError(
        f'No model-index.yml beside {PACKAGE} or in its .mim folder: the '
        'installation is incomplete; install the package again.')


def config_path(name: str) -> Path:
    """Return the config file of a model or of a job.

    Args:
        name: For instance ``'minigpt-4_tiny_stage2'``, with or without
            ``.py``.

    Raises:
        FileNotFoundError: If there is none; the message lists those there
            are.
    """
    folder = root() / 'configs' / 'minigpt4'
    path = folder / (name.removesuffix('.py') + '.py')
    if not path.is_file():
        there = ', '.join(sorted(p.stem for p in folder.glob('*.py')))
        raise FileNotFoundError(
            f'There is no config "{name}". There are: {there}.')
    return path


def read_config(path: str | os.PathLike) -> Any:
    """Read a config file.

    Args:
        path: A file of Python, YAML or JSON. Of Python it is run: configs
            are code.

    Returns:
        mmengine's ``Config``.

    Raises:
        ConfigError: If there is none, or it cannot be read or run.
    """
    from mmengine.config import Config
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


@dataclass(frozen=True)
class Entry:
    """A model of this package, as its metafile describes it.

    Attributes:
        name: The name that ``get_model`` takes.
        task: ``'Image Caption'`` or ``'Visual Question Answering'``.
        parameters: Number of them, the language model's included.
        weights: Where the weights are, but for the language model's; see
            ``weights.expand``. Those of the package start with ``asset://``.
        config: The config file.
    """

    name: str
    task: str
    parameters: int
    weights: str | None
    config: Path

    @property
    def is_shipped(self) -> bool:
        """Whether the weights come with the package."""
        return 'asset://' in (self.weights or '')


def entries() -> list[Entry]:
    """Read the metafile: the package's models, without the toolbox."""
    import yaml
    folder = root()
    metafile = folder / 'configs' / 'minigpt4' / 'metafile.yml'
    models = yaml.safe_load(metafile.read_text(encoding='utf-8'))['Models']
    return [
        Entry(
            name=model['Name'],
            task=model['Results'][0]['Task'],
            parameters=model['Metadata']['Parameters'],
            weights=model.get('Weights'),
            config=folder / model['Config']) for model in models
    ]


def find_entry(name: str) -> Entry:
    """Find a model by its name, in any case.

    Raises:
        ConfigError: If there is none; the message names near ones.
    """
    found = {entry.name: entry for entry in entries()}
    if name.lower() not in found:
        from difflib import get_close_matches
        near = get_close_matches(name.lower(), found) or found
        raise ConfigError(
            f'There is no model "{name}". Near ones: {", ".join(near)}.')
    return found[name.lower()]


def check_device(device: Any) -> None:
    """See whether PyTorch can use a device, before a model is loaded.

    Raises:
        ConfigError: If it cannot.
    """
    if device is None:
        return
    import torch
    try:
        torch.empty(1, device=torch.device(device))
    except (RuntimeError, AssertionError, TypeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f'device {str(device)!r}: PyTorch cannot use it here ({reason}). '
            'Leave it out to take what there is.') from error


def register(hub: type) -> None:
    """Add the package's models to the toolbox's hub, once.

    Args:
        hub: mmpretrain's ``ModelHub``, which holds its own models already.
    """
    if any(_is_ours(info) for info in hub._models_dict.values()):
        return
    for name in REPLACED:
        hub._models_dict.pop(name, None)
    index = root() / 'model-index.yml'
    hub.register_model_index(index, config_prefix=index.parent)


def settings(model: Any,
             pretrained: bool | str = False,
             url_mapping: tuple[str, str] | None = None,
             *,
             llm: str | None = None,
             weights: str | None = None,
             dtype: Any = None,
             quantization: str | None = None,
             **kwargs: Any) -> dict:
    """Turn the arguments of ``get_model`` into settings of the model.

    Args:
        model: A name, the path of a config file, or a config.
        pretrained: Whether to load the weights that the metafile or the
            config names; or the path or the address of a file, or of
            several in braces. Files that hold every part of the model are
            loaded alone, those that lack one, such as what a training
            wrote, over the weights that metafile or config name. If false
            nothing is loaded but the language model, and nothing is
            fetched.
        url_mapping: A pattern and what to put in its place, in each name.
        llm: Folder of the language model.
        weights: Folder that holds all other weights; nothing is fetched.
        dtype: Of all parts, a name or one of torch's; see ``MiniGPT4`` and
            ``VicunaHead``.
        quantization: Of the language model; see ``VicunaHead``.
        **kwargs: Other settings, which are handed on.

    Raises:
        MissingWeightsError: If the folder ``weights`` lacks a file.
    """
    if weights is not None and not os.path.isdir(weights):
        raise MissingWeightsError(
            f'There is no folder {os.fspath(weights)!r} of weights. Name the '
            'folder that holds them, or leave it out.')
    head = dict(kwargs.pop('head', None) or {})
    if llm is not None:
        head['llm'] = os.fspath(llm)
    if dtype is not None:
        dtype = str(dtype).removeprefix('torch.')
        head.setdefault('dtype', dtype)
        kwargs['dtype'] = dtype
    if quantization is not None:
        head.setdefault('quantization', quantization)
    if head:
        kwargs['head'] = head
    if 'checkpoints' in kwargs:
        return kwargs
    found = []
    for name in _weights_of(model, pretrained, kwargs):
        for one in weight_files.expand(name):
            if url_mapping is not None:
                one = re.sub(*url_mapping, one)
            # Elsewhere the model itself looks, once it has seen that its
            # language model is there.
            paths = weight_files.check(one, weights) if weights else {}
            found.append(str(paths.get(one, one)))
    kwargs['checkpoints'] = found or None
    return kwargs


def _weights_of(model: Any, pretrained: bool | str,
                changes: Mapping[str, Any]) -> list[str]:
    if not pretrained:
        return []
    if not isinstance(pretrained, (bool, str, os.PathLike)):
        raise ConfigError('pretrained is True, False or a file, not '
                          f'{pretrained!r}.')
    given = [] if pretrained is True else [os.fspath(pretrained)]
    if given and not _lacks_a_part(model, given[0], changes):
        return given
    if _is_name(model):
        names = [find_entry(model).weights]
    else:
        names = _read_config(model).model.get('checkpoints')
    return [name for name in names or [] if name] + given


def _lacks_a_part(model: Any, names: str, changes: Mapping[str, Any]
                  ) -> bool:
    """Whether files, if they are here, leave a part of the model empty."""
    paths = [weight_files.find_local(one)
             for one in weight_files.expand(names)]
    if None in paths:
        return False  # to be fetched, or to be told that it is not there
    from .checkpoints.loading import merge_files
    there = {
        key.partition('.')[0] for key in merge_files(paths)[0]
        # It lies in Q-Former's files.
        if not key.startswith('backbone.ln_vision.')
    }
    if _is_name(model):
        model = find_entry(model).config
    wanted = {**_read_config(model).model, **changes}
    return any(wanted.get(part) is not None and part not in there
               for part in ('backbone', 'neck', 'projector'))


def _is_name(model: Any) -> bool:
    return isinstance(model, str) and not model.endswith('.py')


def _read_config(model: Any) -> Any:
    """Read a config, unless it is one."""
    return read_config(model) if isinstance(model, (str, Path)) else model


def is_own_model(model: Any) -> bool:
    """Whether a model, or what stands for one, is of this package.

    Args:
        model: A built model, a name, a config or the path of a config file.
    """
    package = PACKAGE.name
    if _is_name(model):
        return model.lower() in {entry.name for entry in entries()}
    model = _read_config(model)
    if type(model).__name__ == 'Config':
        kind = model.get('model', {}).get('type', '')
        return str(kind).startswith(f'{package}.')
    return type(model).__module__.startswith(f'{package}.')


def _is_ours(info: Any) -> bool:
    # Not the root alone: an environment inside the checkout, `.venv`, holds
    # the toolbox's own files.
    return Path(info.filepath).is_relative_to(root() / 'configs')
