# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Images that were seen a moment ago need not be encoded again.

Benchmarks ask several questions about an image, one after the other.

Legend: n images of a sample, Q visual tokens of an image, E width of the
language model.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping

import torch


class ImageFeatureCache:
    """Remembers the visual tokens of the last images.

    Args:
        capacity: The number of samples' images to remember; 0 for none.
    """

    def __init__(self, capacity: int = 64) -> None:
        self.capacity = capacity
        self.num_encoded = self.num_reused = 0
        # What names the images of each sample of the last batch; None where
        # nothing does.
        self.last_keys: list[tuple | None] = []
        self._known: OrderedDict[object, torch.Tensor] = OrderedDict()

    def encode(self, batch: Mapping, encode: Callable[[dict], list]
               ) -> list[torch.Tensor]:
        """Visual tokens of a batch.

        Args:
            batch: Collated samples, before the data preprocessor.
            encode: Gives float[n, Q, E] for each sample of such a batch.

        Returns:
            list: float[n, Q, E] for each sample.
        """
        keys = [self._key(item) for item in batch['inputs']]
        self.last_keys = [key if isinstance(key, tuple) else None
                          for key in keys]
        found = {key: self._known[key] for key in keys if key in self._known}
        # The first of equal images stands for all of them.
        fresh = list({
            key: i for i, key in reversed(list(enumerate(keys)))
            if key not in found
        }.values())[::-1]
        if fresh:
            part = {
                # What was stacked by the collate function stays so.
                name: (values[fresh] if isinstance(values, torch.Tensor) else
                       [values[i] for i in fresh])
                for name, values in batch.items()
            }
            for i, tokens in zip(fresh, encode(part), strict=True):
                found[keys[i]] = tokens
        self.num_encoded += len(fresh)
        self.num_reused += len(keys) - len(fresh)
        for key in keys:
            if isinstance(key, tuple):
                self._known[key] = found[key]
                self._known.move_to_end(key)
        while len(self._known) > self.capacity:
            self._known.popitem(last=False)
        return [found[key] for key in keys]

    def _key(self, item: object) -> object:
        if not self.capacity or not isinstance(item, torch.Tensor):
            return object()  # equal to nothing else
        content = item.contiguous().cpu().view(torch.uint8).numpy().tobytes()
        return (tuple(item.shape), item.dtype, content and hash(content))
