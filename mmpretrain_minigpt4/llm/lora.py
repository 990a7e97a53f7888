# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""LoRA: small trained matrices beside those of a frozen language model.

peft does it; what is here puts it into the model in place, so that the parts
keep their names: ``head.llm.<layer>.lora_A.default.weight``.
"""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from safetensors import safe_open
from torch import nn

from ..errors import CheckpointError, ConfigError
from ..registry import check_settings

MARK = '.lora_'


def add_lora(llm: nn.Module,
             *,
             r: int = 8,
             alpha: float = 16,
             dropout: float = 0.,
             target_modules: Sequence[str] = ('q_proj', 'v_proj')) -> None:
    """Put LoRA beside layers of a language model, whose output stays.

    Args:
        llm: The language model; its own parameters need no gradient then.
        r: Rank of the matrices.
        alpha: What is added is scaled by ``alpha / r``.
        dropout: Of the input of the added branch, in training.
        target_modules: Names of layers, or the ends of such names.

    Raises:
        ConfigError: If a setting has no meaning, no layer has such a name,
            or peft is not installed.

    Source: LoRA (arXiv:2106.09685); its layers in MiniGPT-v2 are q and v.
    """
    if r < 1 or int(r) != r or alpha <= 0 or not 0 <= dropout < 1:
        raise ConfigError(
            'model.lora needs a whole number r >= 1, alpha > 0 and 0 <= '
            f'dropout < 1; got r={r}, alpha={alpha}, dropout={dropout}.')
    peft = import_peft()
    names = [target_modules] if isinstance(target_modules, str) else list(
        target_modules)
    config = peft.LoraConfig(
        r=int(r),
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=names,
        bias='none')
    try:
        peft.inject_adapter_in_model(config, llm)
    except ValueError as error:
        raise ConfigError(
            f'LoRA cannot be added to {names} (model.lora.target_modules): '
            f'{str(error)[:300]}') from error
    for name, parameter in llm.named_parameters():
        trained = MARK in name
        parameter.requires_grad_(trained)
        if trained:  # what is trained stays float32
            parameter.data = parameter.data.float()


def check_lora(settings: dict) -> None:
    """Refuse settings that :func:`add_lora` does not have, and a missing peft.

    Raises:
        ConfigError: See there.
    """
    check_settings(dict(settings, llm=None), add_lora)
    import_peft()


def import_peft():
    """The library.

    Raises:
        ConfigError: If it is not installed.
    """
    try:
        import peft
    except ImportError as error:
        raise ConfigError(
            'model.lora needs the package peft, which cannot be imported '
            f'({error}). Install it: pip install '
            '"mmpretrain-minigpt4[lora]".') from error
    return peft


def lora_parameters(llm: nn.Module) -> dict[str, nn.Parameter]:
    """What was added, by name."""
    return {
        name: parameter
        for name, parameter in llm.named_parameters() if MARK in name
    }


def set_lora_mode(llm: nn.Module, mode: bool) -> None:
    """Switch the dropout of the added branches on or off."""
    for name, module in llm.named_modules():
        if MARK in f'.{name}' and isinstance(module, nn.Dropout):
            module.train(mode)


@contextmanager
def keeping_lora_type(llm: nn.Module) -> Iterator[None]:
    """Let a language model be cast, but not what is trained in it.

    That is out of sight meanwhile: a parameter that is cast there and back
    loses the hooks by which several processes share its gradient.
    """
    places = [(module._parameters, key, parameter)
              for name, module in llm.named_modules() if MARK in f'.{name}'
              for key, parameter in module._parameters.items()]
    for parameters, key, _ in places:
        parameters[key] = None
    try:
        yield
    finally:
        for parameters, key, parameter in places:
            parameters[key] = parameter


def check_loaded(llm: nn.Module, sources: Sequence[str], prefix: str) -> bool:
    """Say whether checkpoints held LoRA weights.

    Args:
        llm: The language model.
        sources: Names that were loaded.
        prefix: Of the language model in those names.

    Raises:
        CheckpointError: If they held some of them only.
    """
    wanted = {prefix + name for name in lora_parameters(llm)}
    missing = sorted(wanted - set(sources))
    if missing and len(missing) < len(wanted):
        raise CheckpointError(
            f'The checkpoints hold {len(wanted) - len(missing)} of '
            f'{len(wanted)} LoRA tensors; {missing[0]} is missing, for one. '
            'Set model.lora.target_modules as it was in training.')
    return not missing


def check_scale(files: Iterable[str], settings: Mapping) -> None:
    """Compare the scale that a checkpoint was trained with, if it tells.

    Args:
        files: The checkpoints.
        settings: Of :func:`add_lora`.

    Raises:
        CheckpointError: If another one would give other answers.
    """
    wanted = _scale(settings)
    for file in files:
        if not os.path.isfile(file) or not file.endswith('.safetensors'):
            continue
        with safe_open(file, framework='pt') as content:
            told = (content.metadata() or {}).get('lora')
        if told is None:
            continue
        found = _scale(json.loads(told))
        if found != wanted:
            raise CheckpointError(
                f'{file!r} was trained with r={found[0]}, alpha={found[1]} '
                f'and model.lora has r={wanted[0]}, alpha={wanted[1]}: give '
                'the values of the training.')


def _scale(settings: Mapping) -> tuple[int, float]:
    usual = inspect.signature(add_lora).parameters
    return tuple(
        settings.get(key, usual[key].default) for key in ('r', 'alpha'))


@torch.no_grad()
def merge_lora(llm: nn.Module) -> None:
    """Add the products of LoRA's matrices to the layers, and remove them.

    Args:
        llm: A language model with LoRA; best in float32.

    Raises:
        CheckpointError: If a merged weight is not finite.
    """
    from peft.tuners.lora import LoraLayer
    for name, module in list(llm.named_modules()):
        if not isinstance(module, LoraLayer):
            continue
        try:
            module.merge(safe_merge=True)
        except ValueError as error:
            raise CheckpointError(f'{name} cannot be merged: {error}'
                                  ) from error
        parent, _, child = name.rpartition('.')
        setattr(llm.get_submodule(parent), child, module.get_base_layer())
