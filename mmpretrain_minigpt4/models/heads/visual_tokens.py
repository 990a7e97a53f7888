# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Visual tokens, sample by sample, and what names them.

Legend: B samples, n images of a sample, Q visual tokens of an image, E width
of the language model.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Hashable, Iterator, Sequence

import torch

from ...errors import PromptError
from ...prompts import Piece, count_images
from .rows import IMAGE_ID


def split_images(feats: torch.Tensor | Sequence[torch.Tensor]
                 ) -> list[torch.Tensor]:
    """Visual tokens of each sample, float[n, Q, E]."""
    if isinstance(feats, torch.Tensor):
        if feats.dim() == 3:
            feats = feats.unsqueeze(1)  # float[B, 1, Q, E]
        return list(feats)
    return [x.unsqueeze(0) if x.dim() == 2 else x for x in feats]


def split(feats: torch.Tensor | Sequence[torch.Tensor],
          samples: Sequence) -> list[torch.Tensor]:
    """As :func:`split_images`, one entry for each sample.

    Raises:
        PromptError: If there are not as many as samples.
    """
    visual = split_images(feats)
    if len(visual) != len(samples):
        raise PromptError(f'There are {len(samples)} samples and the images '
                          f'of {len(visual)}. Give each sample its own.')
    return visual


def check_image_count(pieces: Sequence[Piece], tokens: torch.Tensor) -> None:
    """Compare a prompt's image slots with float[n, Q, E], its images.

    Raises:
        PromptError: If there are not as many.
    """
    slots = count_images(pieces)
    if slots != len(tokens):
        raise PromptError(
            f'The prompt has room for {slots} images, the sample has '
            f'{len(tokens)}. Give one image for each image slot.')


def image_hashes(visual: Sequence[torch.Tensor]
                 ) -> list[tuple[Hashable, ...]]:
    """Name images by their visual tokens.

    Args:
        visual: float[n, Q, E] of each sample.

    Returns:
        list: For each sample n names, equal for equal images.
    """
    if any(x.is_cuda for x in visual):
        # Two sums of 64 bits for each image come to the host, all at once,
        # rather than all of its numbers.
        sums = [_sums(x) for x in visual]
        counts = [len(x) for x in visual]
        return [tuple(map(tuple, x)) for x in _split(
            torch.cat(sums).tolist(), counts)]
    return [
        tuple(
            hash(image.detach().contiguous().cpu().view(
                torch.uint8).numpy().tobytes()) for image in tokens)
        for tokens in visual
    ]


def _sums(images: torch.Tensor) -> torch.Tensor:
    """Two sums of an image's numbers, as bits, times random odd numbers.

    Args:
        images: float[n, Q, E].

    Returns:
        int[n, 2], modulo 2^64; equal by chance for two different images in
        one of 2^60 cases or so.
    """
    whole = {2: torch.int16, 4: torch.int32, 8: torch.int64}
    bits = images.detach().contiguous().view(
        whole[images.element_size()]).flatten(1).long()  # int[n, Q * E]
    factors = _factors(bits.shape[1], bits.device)
    return torch.stack([(bits * of_one).sum(1) for of_one in factors], 1)


@functools.lru_cache(maxsize=4)
def _factors(number: int, device: torch.device) -> torch.Tensor:
    """int[2, number], odd."""
    draw = torch.Generator().manual_seed(0)
    found = torch.randint(-2**62, 2**62, (2, number), generator=draw)
    return (2 * found + 1).to(device)


def _split(items: list, counts: Sequence[int]) -> Iterator[list]:
    rest = iter(items)
    for count in counts:
        yield list(itertools.islice(rest, count))


def token_hashes(ids: Sequence[int], tokens: torch.Tensor,
                 names: Sequence[Hashable] | None = None) -> tuple[int, ...]:
    """Name each token of a prompt, an image's by what the image is.

    Args:
        ids: Token ids, ``IMAGE_ID`` for each visual token.
        tokens: float[n, Q, E], the images in their order.
        names: Of the images, by :func:`image_hashes` if they have none.

    Returns:
        tuple: The ids of text, and negative numbers that are equal for
        equal images, and for no others.
    """
    if names is None:
        names, = image_hashes([tokens])
    found: list[int] = []
    for image, name in zip(tokens, names, strict=True):
        found += [-1 - (hash((name, i)) & (2**62 - 1))
                  for i in range(image.shape[0])]
    images = iter(found)
    return tuple(next(images) if i == IMAGE_ID else i for i in ids)
