# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""What can be chosen about the engine, and what it has done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch

from ..errors import GenerationError


@dataclass(frozen=True)
class EngineConfig:
    """What can be chosen about the engine; no choice changes a text.

    Args:
        slots: Rows that run at a time; None is 16 on a CPU, 128 elsewhere.
        fast: Use the own forward pass of LLaMA-like models.
        reuse: Compute what prompts share only once.
        patience: A request that could enter waits at most this many steps
            for others to be read together with it.
        graphs: Make each step of such models one call of static shapes,
            recorded once and replayed on a GPU; None does so on GPUs only.
        kernels: Use fused kernels, where they work: in such steps on a GPU,
            and for all that such models read on a CPU.
        lag: Steps that may be begun before the tokens of earlier ones are
            looked at; None is 1 on a GPU and 0 elsewhere.
        ahead: Encode the next images while answers are decoded; None does so
            on GPUs only, and nothing else can be done elsewhere.
    """
    slots: int | None = None
    fast: bool = True
    reuse: bool = True
    patience: int = 4
    graphs: bool | None = None
    kernels: bool = True
    lag: int | None = None
    ahead: bool | None = None

    def __post_init__(self) -> None:
        for key, least in (('slots', 1), ('patience', 0), ('lag', 0)):
            value = getattr(self, key)
            if value is not None and value < least:
                raise GenerationError(
                    f'{key} must be at least {least}, not {value}.')

    @classmethod
    def from_dict(cls, settings: Mapping | None) -> EngineConfig:
        """Settings over the defaults.

        Raises:
            GenerationError: If there is no such setting.
        """
        known = [item.name for item in fields(cls)]
        for key in settings or {}:
            if key not in known:
                raise GenerationError(
                    f'The decoding engine has no setting {key!r}; known: '
                    f'{", ".join(known)}.')
        return cls(**(settings or {}))

    def slots_on(self, device: torch.device) -> int:
        """The number of slots on a device."""
        return self.slots or (16 if device.type == 'cpu' else 128)

    def graphs_on(self, device: torch.device) -> bool:
        """Whether steps have static shapes on a device."""
        return device.type == 'cuda' if self.graphs is None else self.graphs

    def lag_on(self, device: torch.device) -> int:
        """The number of steps begun ahead on a device."""
        # Where there is nothing to wait for, a surplus step is only a cost.
        return int(device.type == 'cuda') if self.lag is None else self.lag


@dataclass
class EngineStats:
    """What the engine has done.

    Attributes:
        steps: Decoding steps.
        busy: Rows that ran, summed over steps.
        offered: Slots that could have run while requests were left.
        used: Of those, the ones that ran, and not for nothing.
        surplus: Rows that ran for nothing: their end was not known yet.
        read: Prompt tokens that were read.
        reused: Prompt tokens whose keys and values were there already.
    """
    steps: int = 0
    busy: int = 0
    offered: int = 0
    used: int = 0
    surplus: int = 0
    read: int = 0
    reused: int = 0

    @property
    def occupancy(self) -> float:
        """Share of the slots that ran while requests were left."""
        return self.used / self.offered if self.offered else 1.
