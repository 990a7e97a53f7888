# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The layers of a LLaMA-like model, by operators that do several things.

Legend: B rows, T new tokens a row, E width of the model, H heads, K key-value
heads, D width of a head, N entries seen.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING

import torch

from ..ops import fused_forward

if TYPE_CHECKING:
    from .llama import Llama


def fused_layers(model: Llama, x: torch.Tensor, operators: ModuleType,
                 attend: Callable[[int, torch.Tensor], torch.Tensor]
                 ) -> torch.Tensor:
    """Run all layers; without a gradient.

    Args:
        model: Whose layers.
        x: float[B, T, E].
        operators: As of :func:`~..ops.kernels.operators`.
        attend: From the number of a layer and its queries, keys and values,
            float[B, T, (H + 2 K) * D], to float[B, T, H, D].

    Returns:
        float[B, T, E], what the head is to read.
    """

    def norm(change: torch.Tensor | None, x: torch.Tensor,
             layer: torch.nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
        """Add what a part has made of x, and norm the sum."""
        weight, eps = layer._parameters['weight'], layer.variance_epsilon
        if change is None:
            return operators.rms_norm(x, weight, eps), x
        return operators.add_rms_norm(change, x, weight, eps)

    change = None
    for index, layer in enumerate(model.layers):
        # A module looks its parts up at length; a step has no time for it.
        parts = layer._modules
        mixer, mlp = parts['self_attn']._modules, parts['mlp']._modules
        h, x = norm(change, x, parts['input_layernorm'])
        h = attend(index, _joint(
            (mixer['q_proj'], mixer['k_proj'], mixer['v_proj']), h))
        h, x = norm(mixer['o_proj'](h.flatten(-2)), x,
                    parts['post_attention_layernorm'])
        change = mlp['down_proj'](operators.silu_mul(
            _joint((mlp['gate_proj'], mlp['up_proj']), h)))
    return norm(change, x, model.norm)[0]


def _joint(layers: tuple[torch.nn.Module, ...], x: torch.Tensor
           ) -> torch.Tensor:
    product = fused_forward(layers, x)
    if product is None:
        return torch.cat([layer(x) for layer in layers], -1)
    return product
