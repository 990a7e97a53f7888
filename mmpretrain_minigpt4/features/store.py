# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The shards of a feature cache.

Legend: S images of a shard, Q visual tokens of an image, C their width.

A shard is a safetensors file with ``keys``, uint8[S, 16], and ``features``,
[S, Q, C]. It is whole or absent; the index lists it once it is there.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..checkpoints.saving import write_safetensors
from ..errors import FeatureCacheError
from .index import FeatureIndex
from .keys import KEY_BYTES

DTYPES = dict(
    float16=torch.float16, bfloat16=torch.bfloat16, float32=torch.float32)


class FeatureStore:
    """Gives the features of an image by its key.

    Only the keys are held in memory, 28 bytes an image; features are read
    from the mapped files when they are asked for.

    Args:
        folder: A cache.

    Raises:
        FeatureCacheError: If there is none, or it is damaged.
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        self.folder = Path(folder)
        self.index = FeatureIndex.read(folder)
        self._files: dict[int, Any] = {}
        keys = [np.empty((0, KEY_BYTES), np.uint8)]
        keys += [
            self._read(number, 'keys').numpy()
            for number in range(len(self.index.shards))
        ]
        sizes = [len(each) for each in keys[1:]]
        # uint8[images, 16] -> uint64[images, 2]
        words = np.concatenate(keys).view('<u8')
        self._order = np.argsort(words[:, 0], kind='stable')
        self._words = words[self._order]
        self._starts = np.cumsum([0, *sizes])

    def __len__(self) -> int:
        return len(self._words)

    def __contains__(self, key: bytes) -> bool:
        return self._find(key) is not None

    def get(self, key: bytes) -> Tensor | None:
        """The features of an image, [Q, C], or None.

        Raises:
            FeatureCacheError: If its shard is damaged.
        """
        place = self._find(key)
        if place is None:
            return None
        shard = int(np.searchsorted(self._starts, place, 'right')) - 1
        row = place - int(self._starts[shard])
        return self._read(shard, 'features', row)

    def keys(self) -> set[bytes]:
        """All keys."""
        return {words.tobytes() for words in self._words}

    def _find(self, key: bytes) -> int | None:
        first, second = np.frombuffer(key, '<u8')
        place = int(np.searchsorted(self._words[:, 0], first))
        while place < len(self._words) and self._words[place, 0] == first:
            if self._words[place, 1] == second:
                return int(self._order[place])
            place += 1
        return None

    def _read(self, shard: int, name: str, row: int | None = None) -> Tensor:
        path = self.folder / self.index.shards[shard]['name']
        try:
            if shard not in self._files:
                self._files[shard] = safe_open(path, framework='pt')
            if row is None:
                return self._files[shard].get_tensor(name)
            return self._files[shard].get_slice(name)[row:row + 1][0]
        except (SafetensorError, OSError) as error:
            raise FeatureCacheError(
                f'{str(path)!r} of the feature cache is missing or damaged '
                f'({error}). Delete the folder {str(self.folder)!r} and '
                'write it again by `minigpt4 cache-features`.') from error

    def __getstate__(self) -> dict[str, Any]:
        return dict(self.__dict__, _files={})


class ShardWriter:
    """Collects features, and writes a shard whenever one is full.

    Args:
        folder: The cache.
        index: Its index, which is written along.
        shard_size: Images in a shard.
    """

    def __init__(self, folder: str | os.PathLike, index: FeatureIndex,
                 shard_size: int) -> None:
        self.folder = Path(folder)
        self.index = index
        self.shard_size = shard_size
        self._keys: list[bytes] = []
        self._features: list[Tensor] = []

    def add(self, key: bytes, features: Tensor, name: str) -> None:
        """Take the features of one image.

        Args:
            key: Of the image.
            features: float[Q, C].
            name: What an error calls the image.

        Raises:
            FeatureCacheError: If they cannot be stored in the cache's type.
            OSError: If a shard cannot be written.
        """
        stored = features.to('cpu', DTYPES[self.index.dtype], copy=True)
        if not stored.isfinite().all():
            what = ('are not finite numbers' if not features.isfinite().all()
                    else f'do not fit into {self.index.dtype}')
            raise FeatureCacheError(
                f'The features of {name} {what}. Give --dtype float32, or '
                'look at the weights of the vision part.')
        self.index.shape = list(stored.shape)
        self._keys.append(key)
        self._features.append(stored)
        if len(self._keys) >= self.shard_size:
            self.flush()

    def flush(self) -> None:
        """Write what was collected, and the index."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._keys:
            name = f'features_{len(self.index.shards):05d}.safetensors'
            # 16 bytes for each -> uint8[S, 16]
            keys = np.frombuffer(b''.join(self._keys), np.uint8).reshape(
                -1, KEY_BYTES)
            write_safetensors(
                dict(
                    keys=torch.from_numpy(keys.copy()),
                    features=torch.stack(self._features)),
                self.folder / name)
            self.index.shards.append(dict(name=name, images=len(keys)))
            self._keys, self._features = [], []
        self.index.write(self.folder)
