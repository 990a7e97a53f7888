# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The vision parts of a model; frozen ones replay CUDA graphs of few images.

Few images keep a GPU busy for less time than Python takes to start a thousand
kernels one by one; that is most of the wait for a first token.

Legend: B images, H and W pixels, Q visual tokens, C their width.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from ..ops import kernels
from ..ops.cuda_graphs import CUDAGraphRunner

if TYPE_CHECKING:
    from .minigpt4 import MiniGPT4

# With more images than these the kernels take longer than their start.
MOST = 8


class GraphedVisionEncoder:
    """Encodes images; few of them by replaying how as many were encoded.

    A copy of it begins without graphs.
    """

    def __init__(self) -> None:
        self._reset()

    def encode(self, model: MiniGPT4, images: torch.Tensor) -> torch.Tensor:
        """Images by a model's backbone and neck, float[B, Q, C].

        Args:
            model: Has a backbone.
            images: float[B, 3, H, W].
        """
        if self.captures(model, images):
            return self.replay(model, images)
        with kernels.disabled(not model.kernels):
            return run_vision(model, images)

    def captures(self, model: MiniGPT4, images: torch.Tensor) -> bool:
        """Whether images are encoded by a graph.

        Args:
            model: As of :meth:`encode`.
            images: float[B, 3, H, W].
        """
        device, engine = model.device, getattr(model.head, 'engine', None)
        return (replays(device) and engine is not None
                and engine.cuda_graphs_on(device) and 0 < len(images) <= MOST
                and {'backbone', 'neck'} <= set(model.freeze)
                and not torch.is_autocast_enabled(device.type)
                and not any(
                    layer.training or layer._forward_hooks
                    or layer._forward_pre_hooks or 'forward' in layer.__dict__
                    for part in _parts(model) for layer in part.modules()))

    def replay(self, model: MiniGPT4, images: torch.Tensor) -> torch.Tensor:
        """Images by a graph, which is captured where there is none yet.

        Args:
            model: As of :meth:`encode`.
            images: float[B, 3, H, W].
        """
        parts, images = _parts(model), images.to(model.device)
        if not self._captured_with(parts):
            self._reset()
            self._weights = _weights(parts)
        if self._graphs is None:
            self._graphs = CUDAGraphRunner(
                lambda *key: run_vision(model, self._inputs[key]),
                contextlib.nullcontext, what='Encoding images')
        key = (*images.shape, images.dtype)
        if key not in self._inputs:
            with torch.inference_mode(False):
                self._inputs[key] = torch.empty_like(images)
        with torch.no_grad(), torch.cuda.device_of(images):
            if self._used is not None:  # perhaps on another stream
                self._used.wait()
            self._inputs[key].copy_(images)
            found = self._graphs(*key).clone()
            if images.is_cuda:
                self._used = torch.cuda.current_stream().record_event()
        return found

    def _reset(self) -> None:
        self._inputs: dict[tuple, torch.Tensor] = {}
        self._weights: list[tuple] = []
        self._graphs: CUDAGraphRunner | None = None
        self._used: torch.cuda.Event | None = None

    def _captured_with(self, parts: Sequence[torch.nn.Module]) -> bool:
        """Whether the weights lie where the graphs read them."""
        return bool(self._weights) and self._weights[0] == tuple(
            map(id, parts)) and all(
                held.get(name) is weight and weight.data_ptr() == place
                for held, name, weight, place in self._weights[1:])

    def __deepcopy__(self, memo: dict) -> GraphedVisionEncoder:
        return GraphedVisionEncoder()

    def __reduce__(self) -> tuple:
        return GraphedVisionEncoder, ()


def run_vision(model: MiniGPT4, images: torch.Tensor) -> torch.Tensor:
    """Images through a model's backbone and neck, layer by layer.

    A frozen part computes no gradient, unless something before it is trained.

    Args:
        model: Has a backbone.
        images: float[B, 3, H, W].

    Returns:
        float[B, Q, C].
    """
    frozen = 'backbone' in model.freeze
    first = next(model.backbone.parameters())
    with torch.set_grad_enabled(torch.is_grad_enabled() and not frozen):
        feats = model.backbone(images.to(first))
    if model.neck is not None:
        frozen = frozen and 'neck' in model.freeze
        first = next(model.neck.parameters(), feats[-1])
        with torch.set_grad_enabled(torch.is_grad_enabled() and not frozen):
            feats = model.neck(tuple(x.to(first) for x in feats))
    return feats[-1]


def replays(device: torch.device) -> bool:
    """Whether a device replays graphs."""
    return device.type == 'cuda'


def _parts(model: torch.nn.Module) -> list[torch.nn.Module]:
    return [x for x in (model.backbone, model.neck) if x is not None]


def _weights(parts: Sequence[torch.nn.Module]) -> list[tuple]:
    found: list[tuple] = [tuple(map(id, parts))]
    for part in parts:
        for layer in part.modules():
            for held in (layer._parameters, layer._buffers):
                found += [(held, name, weight, weight.data_ptr())
                          for name, weight in held.items()
                          if weight is not None]
    return found
