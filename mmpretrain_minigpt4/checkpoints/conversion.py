# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""From the names of any known layout to this package's own."""

import functools
import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..errors import CheckpointError
from .layouts import DROP, LAYOUTS, Layout

# Where training scripts put the weights, beside optimiser and config.
CONTAINERS = ('state_dict', 'model', 'module')

# All are cast to the dtype of the model; packed and quantised types are not.
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

_WILDCARD = re.compile(r'\{\}|\*\*|\*')
_MEANINGS = {'{}': r'(\d+)', '*': '(weight|bias)', '**': '(.+)'}


@dataclass
class Converted:
    """A state dict under native names.

    Attributes:
        layout: Name of the layout that the keys were found to have.
        tensors: Native name to tensor.
        origins: Native name to the key in the file.
        dropped: Keys of the file that MiniGPT-4 has no use for.
    """
    layout: str
    tensors: dict[str, Tensor] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)


@functools.cache
def _regex(pattern: str) -> re.Pattern:
    parts = re.split(f'({_WILDCARD.pattern})', pattern)
    return re.compile(''.join(
        _MEANINGS.get(part) or re.escape(part) for part in parts))


def rename(key: str, layout: Layout) -> str | None:
    """The native name of a key; DROP, or None if the layout has no such key.
    """
    for pattern, target in layout.table.items():
        match = _regex(pattern).fullmatch(key)
        if match and target == DROP:
            return DROP
        if match:
            between = _WILDCARD.split(target)
            return ''.join(
                text for pair in itertools.zip_longest(
                    between, match.groups(), fillvalue='') for text in pair)
    return None


def _is_marked(keys: list[str], layout: Layout) -> bool:
    return any(
        _regex(mark).fullmatch(key) for mark in layout.marks for key in keys)


def detect(keys: list[str]) -> Layout | None:
    """The layout that gives most of the keys a native name."""
    best, most = None, 0
    for layout in LAYOUTS:
        if layout.marks and not _is_marked(keys, layout):
            continue
        known = sum(bool(rename(key, layout)) for key in keys)
        if layout.marks and known:
            return layout
        if known > most:
            best, most = layout, known
    return best


def unwrap(content: object, name: str) -> dict[str, Tensor]:
    """Take the weights out of what a training script saved around them.

    Args:
        content: What the file held: a dict of tensors, or one that has it
            under ``state_dict``, ``model`` or ``module``.
        name: What errors call it.

    Raises:
        CheckpointError: If there is no dict of tensors in it, or an empty one.
    """
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f'{name} holds a {type(content).__name__}, not a dict of '
            'tensors: save model.state_dict() instead.')
    for container in CONTAINERS:
        if isinstance(content.get(container), Mapping):
            content = content[container]
            break
    if not content:
        raise CheckpointError(
            f'{name} holds no tensors at all: it was saved from an empty '
            'dict, or of a model in which nothing was trained.')
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise CheckpointError(
                f'{name}: the entry {str(key)[:200]!r} is a '
                f'{type(value).__name__}, not a tensor, and no dict of '
                f'tensors lies under any of {list(CONTAINERS)}.')
    # DistributedDataParallel puts this in front of every key.
    if all(key.startswith('module.') for key in content):
        return {key[len('module.'):]: value for key, value in content.items()}
    return dict(content)


def _refuse_lora(keys: list[str], name: str) -> None:
    lora = [key for key in keys
            if 'lora_' in key and not key.startswith('head.llm.')]
    if lora:
        raise CheckpointError(
            f'{name} holds {len(lora)} LoRA tensors, {lora[0]!r} for one: '
            'MiniGPT-v2 fine-tunes its language model with LoRA, and only '
            'LoRA that was trained here is read. Merge them into the language '
            "model's own folder, save that, and give a file without them.")


def check_numbers(key: str, tensor: Tensor) -> None:
    """Refuse a tensor that is not plain floating-point numbers.

    Raises:
        CheckpointError: If it is quantised, packed, sparse or without data.
    """
    if tensor.dtype not in FLOATS:
        raise CheckpointError(
            f'{key[:200]!r} holds numbers of type {tensor.dtype}: quantised '
            'and packed weights are not read, take the float ones.')
    if tensor.layout != torch.strided or tensor.is_meta:
        raise CheckpointError(
            f'{key[:200]!r} is a sparse tensor or one without data; save the '
            'weights as plain tensors.')


def check_finite(key: str, tensor: Tensor, file: str) -> None:
    """Refuse weights that are NaN or infinite.

    Args:
        key: The tensor's name.
        tensor: Of floats.
        file: Where it came from.

    Raises:
        CheckpointError: If one is; every answer would be nonsense.
    """
    if not tensor.numel():
        return
    # In one pass, and without another tensor of that size.
    least, most = tensor.aminmax()
    if not (least.isfinite() and most.isfinite()):
        number = int((~tensor.isfinite()).sum())
        raise CheckpointError(
            f'{key[:200]!r} of {file} holds {number} numbers of '
            f'{tensor.numel()} that are NaN or infinite: its training went '
            'wrong, or the file is damaged. Take an earlier checkpoint, or '
            'fetch it again.')


def _split_qkv_biases(converted: Converted) -> None:
    """Turn each bias of a merged qkv layer into one for q and one for v."""
    for key in list(converted.tensors):
        if not key.endswith('.attn.qkv.bias'):
            continue
        bias = converted.tensors.pop(key)
        origin = converted.origins.pop(key)
        if bias.dim() != 1 or len(bias) % 3:
            raise CheckpointError(
                f'{origin!r} has shape {list(bias.shape)}, which are not '
                'three biases of equal length for q, k and v.')
        q, k, v = bias.chunk(3)
        if k.any():
            raise CheckpointError(
                f'{origin!r} has a bias for the keys that is not zero. '
                'EVA-ViT has none, so these are weights of another ViT.')
        stem = key[:-len('qkv.bias')]
        for part, tensor in (('q_bias', q), ('v_bias', v)):
            converted.tensors[stem + part] = tensor
            converted.origins[stem + part] = origin


def convert(state_dict: Mapping, name: str = 'this state dict') -> Converted:
    """Rename a state dict of any known layout, and say what was done.

    Args:
        state_dict: Keys to tensors, as a file holds them.
        name: What errors call it; a file name, as a rule.

    Raises:
        CheckpointError: If no layout knows the keys, or the one that knows
            most of them does not know one.
    """
    state_dict = unwrap(state_dict, name)
    keys = list(state_dict)
    _refuse_lora(keys, name)
    layout = detect(keys)
    if layout is None:
        raise CheckpointError(
            f'{name}: none of its {len(keys)} keys belongs to MiniGPT-4; the '
            f'first are {[key[:200] for key in keys[:3]]}. Known layouts: '
            f'{", ".join(known.name for known in LAYOUTS)}.')
    converted = Converted(layout.name)
    for key, tensor in state_dict.items():
        native = rename(key, layout)
        if native is None:
            raise CheckpointError(
                f'{name} looks like a checkpoint of layout {layout.name!r}, '
                f'but that has no key {key[:200]!r}: it is from another '
                'model, or from a version of it that is not known here.')
        if native == DROP:
            converted.dropped.append(key)
            continue
        check_numbers(key, tensor)
        if native in converted.tensors:
            raise CheckpointError(
                f'{name}: {key!r} and {converted.origins[native]!r} are both '
                f'{native!r} here; remove one of them.')
        converted.tensors[native] = tensor
        converted.origins[native] = key
    _split_qkv_biases(converted)
    return converted


def to_native(state_dict: Mapping) -> dict[str, Tensor]:
    """Rename a state dict of any known layout to this package's names.

    Layouts: EVA, BLIP-2 (LAVIS), MiniGPT-4 official, OpenMMLab's three files,
    Hugging Face Blip2 and InstructBlip, and the package's own.

    Args:
        state_dict: Keys to tensors, also under ``state_dict`` or ``model``.

    Returns:
        Native names to the same tensors, without those that MiniGPT-4 has no
        use for.

    Raises:
        CheckpointError: If a key is known to no table; it names the key.
    """
    return convert(state_dict).tensors
