# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Learned positions for another image size.

Letters of shapes: N = 1 + G * G tokens (CLS first), G patches a side, D
their width.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import CheckpointError


def resize_positions(positions: Tensor, num_tokens: int) -> Tensor:
    """Stretch learned positions over another grid of patches.

    The position of the CLS token stays as it is, the others are interpolated
    bicubically over the image's plane.

    Args:
        positions: ``float[1, N, D]``.
        num_tokens: N of the result.

    Returns:
        ``float[1, num_tokens, D]`` in the same dtype.

    Raises:
        CheckpointError: If either is not one CLS token and a square grid.
    """
    if positions.dim() != 3 or len(positions) != 1:
        raise CheckpointError(
            f'Positions of shape {list(positions.shape)} are not [1, tokens, '
            'width]: they belong to another kind of ViT.')
    old, new = (math.isqrt(max(n - 1, 0))
                for n in (positions.shape[1], num_tokens))
    if (old**2 + 1, new**2 + 1) != (positions.shape[1], num_tokens) or not old:
        raise CheckpointError(
            f'Positions of {positions.shape[1]} tokens cannot be stretched '
            f'to {num_tokens}: both must be one CLS token and a square grid '
            'of patches, as 257 are for 224 px and 1025 for 448 px.')
    if old == new:
        return positions
    cls, grid = positions[:, :1], positions[:, 1:]
    # [1, G * G, D] -> [1, D, G, G]
    grid = grid.unflatten(1, (old, old)).permute(0, 3, 1, 2).float()
    grid = F.interpolate(
        grid, size=(new, new), mode='bicubic', align_corners=False)
    grid = grid.flatten(2).transpose(1, 2)  # [1, G' * G', D]
    return torch.cat((cls, grid.to(cls.dtype)), dim=1)
