# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Images of one batch are encoded while answers of another are decoded.

Encoding is bound by arithmetic and decoding by memory, so on a GPU both go on
at once, each on a stream of its own.

Legend: n images of a sample, Q visual tokens of an image, E width of the
language model.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import NamedTuple

import torch

from .image_cache import ImageFeatureCache


class EncodedSample(NamedTuple):
    """A sample whose images are encoded.

    ``tokens`` are float[n, Q, E]; ``hashes`` are those of the n images,
    equal for equal ones, or None where they have none.
    """
    tokens: torch.Tensor
    sample: object
    hashes: tuple[Hashable, ...] | None


def prefetch(model: torch.nn.Module, batches: Iterable[Mapping],
             prefetch_images: bool | None = None) -> Iterator[EncodedSample]:
    """Encode the images of batches; none is encoded twice in a row.

    Args:
        model: A :class:`~.minigpt4.MiniGPT4`.
        batches: Collated samples, read lazily.
        prefetch_images: Encode a batch while the one before is used; None
            does so on a GPU.
    """
    cache, device = ImageFeatureCache(), model.device

    def encode(batch: dict) -> list[torch.Tensor]:
        if device.type == 'cuda':
            batch = dict(batch, inputs=pinned(batch['inputs']))
        images = model.data_preprocessor(batch, False)['images']
        return list(model.extract_feat(images))

    def encode_batch(batch: Mapping) -> list[EncodedSample]:
        found = cache.encode(batch, encode)
        return [
            # float[Q, E] of a lone image -> float[1, Q, E]
            EncodedSample(x[None] if x.dim() == 2 else x, sample,
                          image_hashes_of(key, 1 if x.dim() == 2 else len(x)))
            for x, key, sample in zip(found, cache.last_keys,
                                      batch['data_samples'], strict=True)
        ]

    if device.type != 'cuda' or prefetch_images is False:
        for batch in batches:
            yield from encode_batch(batch)
        return
    # What is computed first on another stream must be there.
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    waiting: tuple[list[EncodedSample], torch.cuda.Event] | None = None
    for batch in batches:
        with torch.cuda.stream(stream):
            begun = encode_batch(batch), stream.record_event()
        if waiting is not None:
            yield from _await(*waiting)
        waiting = begun
    if waiting is not None:
        yield from _await(*waiting)


def pinned(inputs: torch.Tensor | list) -> torch.Tensor | list:
    """Images in memory that a GPU fetches by itself."""
    if isinstance(inputs, torch.Tensor):
        return inputs.pin_memory() if inputs.device.type == 'cpu' else inputs
    return [pinned(x) if isinstance(x, torch.Tensor) else x for x in inputs]


def image_hashes_of(key: Hashable | None, number: int
                    ) -> tuple[Hashable, ...] | None:
    """Of the images of a sample, from one key of all of them together."""
    return None if key is None else tuple((key, i) for i in range(number))


def _await(found: list[EncodedSample],
           event: torch.cuda.Event) -> Iterator[EncodedSample]:
    """Let the present stream use what another has made."""
    stream = torch.cuda.current_stream(found[0].tokens.device
                                       if found else None)
    stream.wait_event(event)
    for sample in found:
        if sample.tokens.is_cuda:
            sample.tokens.record_stream(stream)
    yield from found
