# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Linear layers of the same input, with their weights merged into one tensor.

One large product keeps a GPU busier than three small ones, and is one launch.
The layers stay what they are: their weights become neighbouring views of one
tensor, so that state dicts, saving and loading do not change, and nothing is
held twice. Whether weights are neighbours follows from their addresses, so
layers that were moved, converted or given new weights are unmerged again.

Legend: I and O input and output channels.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import nn


@torch.no_grad()
def merge(module: nn.Module, groups: Sequence[Sequence[str]]) -> int:
    """Lay the weights of frozen layers side by side, where they are plain.

    Args:
        module: On any device.
        groups: Names of layers of one module that read the same input.

    Returns:
        int: How many layers have become neighbours.
    """
    number = 0
    owners = count_owners(module)
    for parent in module.modules():
        for names in groups:
            layers = [getattr(parent, name, None) for name in names]
            if not _can_merge(layers,
                              owners) or _merged_weight(layers) is not None:
                continue
            whole = torch.cat([layer.weight for layer in layers])
            parts = whole.split([layer.out_features for layer in layers])
            for layer, part in zip(layers, parts, strict=True):
                layer.weight.data = part
                layer.__dict__['_merged'] = True
            number += len(layers)
    return number


def merged_linear(layers: Sequence[nn.Module], x: torch.Tensor
                  ) -> torch.Tensor | None:
    """The product with all of some layers' weights, where they are merged.

    Args:
        layers: Of any kind.
        x: float[..., I].

    Returns:
        float[..., sum of O], or None where they are not.
    """
    if not all(layer.__dict__.get('_merged') for layer in layers):
        return None
    whole = _merged_weight(layers)
    if whole is None:
        return None
    return F.linear(x, whole, merged_bias(layers, x))


def merged_bias(layers: Sequence[nn.Module], x: torch.Tensor
                ) -> torch.Tensor | None:
    """The biases of layers behind each other, float[sum of O], if any.

    Args:
        layers: Of any kind.
        x: Has the type and device of a bias that is not there.
    """
    biases = [layer._parameters.get('bias') for layer in layers]
    if not any(bias is not None for bias in biases):
        return None
    # An absent bias is one of zeros.
    return torch.cat([
        x.new_zeros(layer.out_features) if bias is None else bias
        for layer, bias in zip(layers, biases, strict=True)
    ])


@contextlib.contextmanager
def unmerge(module: nn.Module) -> Iterator[None]:
    """Within it merged layers are multiplied one by one, to compare."""
    found = [layer for layer in module.modules()
             if layer.__dict__.pop('_merged', False)]
    try:
        yield
    finally:
        for layer in found:
            layer.__dict__['_merged'] = True


def _merged_weight(layers: Sequence[nn.Module]) -> torch.Tensor | None:
    """The block that these weights are, or None if they are none."""
    weights = [layer._parameters.get('weight') for layer in layers]
    first = weights[0]
    if any(type(weight) is not nn.Parameter for weight in weights):
        return None
    store = first.untyped_storage()
    place, rows = first.storage_offset(), 0
    for weight in weights:
        if (weight.dtype != first.dtype or not weight.is_contiguous()
                or weight.shape[1:] != first.shape[1:]
                or weight.storage_offset() != place + rows * first.shape[1]
                or weight.untyped_storage().data_ptr() != store.data_ptr()
                or weight.requires_grad):
            return None
        rows += weight.shape[0]
    return first.as_strided((rows, first.shape[1]), (first.shape[1], 1))


def _can_merge(layers: Sequence[nn.Module | None], owners: dict[int, int]
               ) -> bool:
    if any(type(layer) is not nn.Linear or layer._forward_hooks
           or layer._forward_pre_hooks for layer in layers):
        return False
    weights = [layer.weight for layer in layers]
    return len({
        (x.dtype, x.device, x.shape[1]) for x in weights
    }) == 1 and all(
        type(x) is nn.Parameter and type(x.data) is torch.Tensor
        and not x.requires_grad and not x.is_meta and owners[id(x)] == 1
        for x in weights)


def count_owners(module: nn.Module) -> dict[int, int]:
    """How many places of a module hold each parameter."""
    owners: dict[int, int] = {}
    for layer in module.modules():
        for weight in layer._parameters.values():
            if weight is not None:
                owners[id(weight)] = owners.get(id(weight), 0) + 1
    return owners
