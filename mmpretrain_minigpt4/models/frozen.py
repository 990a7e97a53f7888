# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Frozen parts get the type and the layout that suit the device they are on.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import torch

from .. import ops
from ..llm import lora as lora_
from ..llm.dtypes import compute_dtype, convert

if TYPE_CHECKING:
    from .minigpt4 import MiniGPT4


def prepare_frozen(model: MiniGPT4, device: torch.device) -> None:
    """Convert and lay out what is frozen; what is trained stays as it is.

    Args:
        model: Its parts are on the device already.
        device: Where they are.
    """
    wanted = compute_dtype(model.dtype, device)
    for name in ('backbone', 'neck'):
        part = getattr(model, name)
        if part is not None and name in model.freeze:
            convert(part, wanted)
    if hasattr(model.head, 'prepare'):
        # What is trained keeps its float32.
        with (contextlib.nullcontext() if model.lora is None else
              lora_.keeping_lora_type(model.head.llm)):
            model.head.prepare(device, frozen='head' in model.freeze)
    if not model.prepack:
        return
    prepare = ops.prepack if device.type == 'cpu' else ops.merge
    for name in model.freeze:
        part = getattr(model, name)
        # Layers beside LoRA are merged in place, one day.
        if part is not None and (model.lora is None or name != 'head'):
            with ops.kernels.disabled(not model.kernels):
                prepare(part, getattr(part, 'fused_groups', ()))
