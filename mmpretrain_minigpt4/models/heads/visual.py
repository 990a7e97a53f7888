# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Visual tokens, sample by sample, and what names them.

Legend: B samples, n images of a sample, Q visual tokens of an image, E width
of the language model.
"""

from __future__ import annotations

from collections.abc import Sequence

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


def check_slots(pieces: Sequence[Piece], tokens: torch.Tensor) -> None:
    """Compare a prompt's image slots with float[n, Q, E], its images.

    Raises:
        PromptError: If there are not as many.
    """
    slots = count_images(pieces)
    if slots != len(tokens):
        raise PromptError(
            f'The prompt has room for {slots} images, the sample has '
            f'{len(tokens)}. Give one image for each image slot.')


def prompt_keys(ids: Sequence[int], tokens: torch.Tensor
                ) -> tuple[int, ...]:
    """Name each token of a prompt, an image's by what the image is.

    Args:
        ids: Token ids, ``IMAGE_ID`` for each visual token.
        tokens: float[n, Q, E], the images in their order.

    Returns:
        tuple: The ids of text, and negative numbers that are equal for
        equal images, and for no others.
    """
    found: list[int] = []
    for image in tokens:
        content = image.detach().contiguous().cpu().view(torch.uint8)
        digest = hash(content.numpy().tobytes())
        found += [-1 - (hash((digest, i)) & (2**62 - 1))
                  for i in range(image.shape[0])]
    images = iter(found)
    return tuple(next(images) if i == IMAGE_ID else i for i in ids)
