# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Frozen vision parts, replayed for few images from CUDA graphs.

Few images keep a GPU busy for less time than Python takes to start a thousand
kernels one by one; that is most of the wait for a first token.

Legend: B images, H and W pixels, Q visual tokens, C their width.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import torch

from ..ops.cuda_graphs import CUDAGraphRunner

# With more images than these the kernels take longer than their start.
MOST = 8


class GraphedVisionEncoder:
    """Looks at few images by replaying how it looked at as many before.

    A copy of it begins without recordings.
    """

    def __init__(self) -> None:
        self._forget()

    def records(self, model: torch.nn.Module, images: torch.Tensor) -> bool:
        """Whether a model looks at images by a recording.

        Args:
            model: A :class:`~.minigpt4.MiniGPT4` with an eye.
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

    def __call__(self, model: torch.nn.Module, images: torch.Tensor
                 ) -> torch.Tensor:
        """What a model's eye sees, float[B, Q, C], of a recording.

        Args:
            model: As of :meth:`records`.
            images: float[B, 3, H, W].
        """
        parts, images = _parts(model), images.to(model.device)
        if not self._are(parts):
            self._forget()
            self._weights = _weights(parts)
        if self._graphs is None:
            self._graphs = CUDAGraphRunner(
                lambda *key: model._look(self._inputs[key])[-1],
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

    def _forget(self) -> None:
        self._inputs: dict[tuple, torch.Tensor] = {}
        self._weights: list[tuple] = []
        self._graphs: CUDAGraphRunner | None = None
        self._used: torch.cuda.Event | None = None

    def _are(self, parts: Sequence[torch.nn.Module]) -> bool:
        """Whether the weights lie where those of the recordings lay."""
        return bool(self._weights) and self._weights[0] == tuple(
            map(id, parts)) and all(
                held.get(name) is weight and weight.data_ptr() == place
                for held, name, weight, place in self._weights[1:])

    def __deepcopy__(self, memo: dict) -> GraphedVisionEncoder:
        return GraphedVisionEncoder()

    def __reduce__(self) -> tuple:
        return GraphedVisionEncoder, ()


def replays(device: torch.device) -> bool:
    """Whether a device replays recordings."""
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
