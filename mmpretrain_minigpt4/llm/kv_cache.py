# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Keys and values of running rows, in one block of memory.

Legend: L layers, S slots, H key-value heads, C entries a slot has room for,
D width of a head, B rows, T new entries a row.
"""

from __future__ import annotations

import inspect

import torch


class KVCache:
    """A preallocated cache that grows by doubling, should it have to.

    Args:
        num_layers: L.
        num_slots: S.
        num_heads: H.
        head_dims: D.
        dtype: Of keys and values.
        device: Where they are.
    """

    def __init__(self, num_layers: int, num_slots: int, num_heads: int,
                 head_dims: int, dtype: torch.dtype,
                 device: torch.device) -> None:
        self.num_slots = num_slots
        # float[L, S, H, C, D]
        self.keys = torch.empty(
            num_layers, num_slots, num_heads, 0, head_dims, dtype=dtype,
            device=device)
        self.values = self.keys.clone()

    @property
    def capacity(self) -> int:
        """Entries that a slot has room for."""
        return self.keys.shape[3]

    @property
    def num_bytes(self) -> int:
        """Bytes of the whole block."""
        return 2 * self.keys.numel() * self.keys.element_size()

    def reserve(self, capacity: int, most: int | None = None) -> bool:
        """Make room for ``capacity`` entries a slot; what is there stays.

        Args:
            capacity: Entries that are needed now.
            most: Entries that will ever be needed, where that is known;
                doubling stops there.

        Returns:
            bool: Whether the block had to grow.
        """
        old = self.capacity
        if capacity <= old:
            return False
        wanted = max(capacity, 2 * old)
        if most is not None:
            wanted = max(capacity, min(wanted, most))
        for name in ('keys', 'values'):
            block = getattr(self, name)
            shape = list(block.shape)
            shape[3] = wanted
            # Zeros: what is masked must still be finite.
            grown = block.new_zeros(shape)
            grown[:, :, :, :old] = block
            setattr(self, name, grown)
        return True

    def layers(self, rows: slice, stop: int
               ) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Keys and values of each layer, to be read and written.

        Args:
            rows: B neighbouring slots.
            stop: How many entries.

        Returns:
            list: Views, float[B, H, stop, D] each.
        """
        return list(zip(self.keys[:, rows, :, :stop].unbind(0),
                        self.values[:, rows, :, :stop].unbind(0),
                        strict=True))

    def copy(self, source: int, target: int, length: int) -> None:
        """Copy the first entries of a slot to another, in all layers."""
        for block in (self.keys, self.values):
            block[:, target, :, :length] = block[:, source, :, :length]

    def take(self, slot: int, length: int) -> tuple[torch.Tensor, ...]:
        """Copies of a slot's first entries, float[L, H, length, D] each."""
        return tuple(block[:, slot, :, :length].clone()
                     for block in (self.keys, self.values))

    def put(self, slot: int, entries: tuple[torch.Tensor, ...]) -> None:
        """Put what :meth:`take` gave at the beginning of a slot."""
        length = entries[0].shape[2]
        for block, part in zip((self.keys, self.values), entries,
                               strict=True):
            block[:, slot, :, :length] = part


def write(block: torch.Tensor, at: torch.Tensor | int, new: torch.Tensor
          ) -> None:
    """Put new entries into their places.

    Args:
        block: float[B, H, N, D], of :meth:`KVCache.layers`.
        at: int[B, T], the entry that each goes to; or the first entry,
            where all rows have the same ones.
        new: float[B, T, H, D].
    """
    if isinstance(at, int):
        # float[B, T, H, D] -> float[B, H, T, D]
        block.narrow(2, at, new.shape[1]).copy_(new.transpose(1, 2))
        return
    index = torch.arange(len(block), device=at.device).unsqueeze(1)
    # int[B, 1]; indices around a slice bring their own axes to the front, so
    # that what is assigned is float[B, T, H, D].
    block[index, :, at] = new


def cache_argument(llm: torch.nn.Module) -> str:
    """What a model of transformers calls its own cache.

    The argument and the field of its output were renamed in transformers
    5.24; the old name goes in 5.40.
    """
    known = inspect.signature(llm.forward).parameters
    return 'cache' if 'cache' in known else 'past_key_values'
