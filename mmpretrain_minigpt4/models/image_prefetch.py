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


class Seen(NamedTuple):
    """A sample whose images are encoded.

    ``tokens`` are float[n, Q, E]; ``names`` are those of the n images, equal
    for equal ones, or None where they have none.
    """
    tokens: torch.Tensor
    sample: object
    names: tuple[Hashable, ...] | None


def see(model: torch.nn.Module, batches: Iterable[Mapping],
        prefetch_images: bool | None = None) -> Iterator[Seen]:
    """Encode the images of batches; none is encoded twice in a row.

    Args:
        model: A :class:`~.minigpt4.MiniGPT4`.
        batches: Collated samples, read lazily.
        prefetch_images: Encode a batch while the one before is used; None
            does so on a GPU.
    """
    reuse, device = ImageFeatureCache(), model.device

    def encode(batch: dict) -> list[torch.Tensor]:
        if device.type == 'cuda':
            batch = dict(batch, inputs=pinned(batch['inputs']))
        images = model.data_preprocessor(batch, False)['images']
        return list(model.extract_feat(images))

    def whole(batch: Mapping) -> list[Seen]:
        found = reuse.encode(batch, encode)
        return [
            # float[Q, E] of a lone image -> float[1, Q, E]
            Seen(x[None] if x.dim() == 2 else x, sample,
                 names(key, 1 if x.dim() == 2 else len(x)))
            for x, key, sample in zip(found, reuse.last_keys,
                                      batch['data_samples'], strict=True)
        ]

    if device.type != 'cuda' or prefetch_images is False:
        for batch in batches:
            yield from whole(batch)
        return
    # What is computed first on another stream must be there.
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    waiting: tuple[list[Seen], torch.cuda.Event] | None = None
    for batch in batches:
        with torch.cuda.stream(stream):
            begun = whole(batch), stream.record_event()
        if waiting is not None:
            yield from _arrived(*waiting)
        waiting = begun
    if waiting is not None:
        yield from _arrived(*waiting)


def pinned(inputs: torch.Tensor | list) -> torch.Tensor | list:
    """Images in memory that a GPU fetches by itself."""
    if isinstance(inputs, torch.Tensor):
        return inputs.pin_memory() if inputs.device.type == 'cpu' else inputs
    return [pinned(x) if isinstance(x, torch.Tensor) else x for x in inputs]


def names(key: Hashable | None, number: int) -> tuple[Hashable, ...] | None:
    """Of the images of a sample, by what names all of them together."""
    return None if key is None else tuple((key, i) for i in range(number))


def _arrived(found: list[Seen], event: torch.cuda.Event) -> Iterator[Seen]:
    """Let the present stream use what another has made."""
    stream = torch.cuda.current_stream(found[0].tokens.device
                                       if found else None)
    stream.wait_event(event)
    for seen in found:
        if seen.tokens.is_cuda:
            seen.tokens.record_stream(stream)
    yield from found
