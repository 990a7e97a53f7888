# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The options of the engine, and its counters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch

from ..errors import GenerationError


@dataclass(frozen=True)
class EngineConfig:
    """The options of the engine; none changes an answer's text.

    Args:
        max_num_seqs: Rows that run at a time; None is 16 on a CPU, 128
            elsewhere.
        use_fast_forward: Use this package's forward pass of LLaMA-like
            models.
        enable_prefix_caching: Compute what prompts share only once.
        prefill_wait_steps: A request that could enter waits at most this
            many steps, so that several are prefilled together.
        cuda_graphs: Make each step of such models one call of static shapes,
            captured once and replayed on a GPU; None does so on GPUs only.
        kernels: Use fused kernels, where they work: in such steps on a GPU,
            and for all that such models compute on a CPU.
        async_steps: Steps that may be started before the tokens of earlier
            ones are known on the host; None is 1 on a GPU and 0 elsewhere.
        prefetch_images: Encode the next images while answers are decoded;
            None does so on GPUs, the only place where it is possible.
    """
    max_num_seqs: int | None = None
    use_fast_forward: bool = True
    enable_prefix_caching: bool = True
    prefill_wait_steps: int = 4
    cuda_graphs: bool | None = None
    kernels: bool = True
    async_steps: int | None = None
    prefetch_images: bool | None = None

    def __post_init__(self) -> None:
        for key, least in (('max_num_seqs', 1),
                           ('prefill_wait_steps', 0), ('async_steps', 0)):
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

    def max_num_seqs_on(self, device: torch.device) -> int:
        """The largest number of running rows on a device."""
        return self.max_num_seqs or (16 if device.type == 'cpu' else 128)

    def cuda_graphs_on(self, device: torch.device) -> bool:
        """Whether steps have static shapes on a device."""
        if self.cuda_graphs is None:
            return device.type == 'cuda'
        return self.cuda_graphs

    def async_steps_on(self, device: torch.device) -> int:
        """The number of steps started ahead on a device."""
        # Where there is nothing to wait for, a wasted step is only a cost.
        if self.async_steps is None:
            return int(device.type == 'cuda')
        return self.async_steps


@dataclass
class EngineStats:
    """Counters of the engine.

    Attributes:
        steps: Decoding steps.
        running: Rows that ran, summed over steps.
        slot_steps: Slots, summed over the steps while requests were left.
        active_slot_steps: Of those, the ones whose token was of use.
        wasted_steps: Rows stepped on although they had ended, since the host
            did not know it yet.
        prefill_tokens: Prompt tokens that were computed.
        cached_tokens: Prompt tokens whose keys and values were cached.
    """
    steps: int = 0
    running: int = 0
    slot_steps: int = 0
    active_slot_steps: int = 0
    wasted_steps: int = 0
    prefill_tokens: int = 0
    cached_tokens: int = 0

    @property
    def occupancy(self) -> float:
        """Share of the slots that ran while requests were left."""
        if not self.slot_steps:
            return 1.
        return self.active_slot_steps / self.slot_steps
