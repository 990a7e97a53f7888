# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Both models compute the same function, or nothing is timed.

Greedy tokens of random weights drift apart even between two float32
implementations of one graph, so logits after given tokens are compared.
"""

from __future__ import annotations

import torch

from mmpretrain_minigpt4.errors import BenchmarkError

from .dims import Dims
from .inputs import make_images, make_samples, peer_inputs

TOLERANCE = dict(float32=1e-5, bfloat16=2e-2)


@torch.no_grad()
def compare(ours: torch.nn.Module, peer: torch.nn.Module, dims: Dims,
            tokens: int = 48, rows: int = 2) -> dict[str, float]:
    """How far the models' numbers are apart, over their size.

    Both as root mean squares: the largest of a million bfloat16 differences
    says more about the number of numbers than about the model.

    Args:
        ours: Our model.
        peer: P1 with its weights.
        dims: Their size.
        tokens: Of each row, image with it.
        rows: How many.

    Returns:
        dict: ``visual`` tokens, ``logits`` after each token, and ``loss``.
    """
    images = make_images(dims, rows, ours.device)
    samples = make_samples(
        ours, rows, tokens, answer=max(4, (tokens - dims.queries) // 3))
    visual = ours(images, mode='tensor')
    prompts = [ours.head.reader.prompt(sample, 1)[0] for sample in samples]
    logits, mask = ours.head.logits(visual, prompts)
    inputs = peer_inputs(ours, dims, samples)
    theirs = peer(pixel_values=images, **inputs).logits
    mask = mask.bool()
    learnt = peer_inputs(ours, dims, samples, training=True)
    found = dict(
        visual=_distance(visual, peer.get_image_features(
            images).pooler_output),
        logits=_distance(logits[mask], theirs[mask]),
        loss=_distance(
            ours(images, samples, mode='loss')['loss'],
            peer(pixel_values=images, **learnt).loss))
    return found


def check(ours: torch.nn.Module, peer: torch.nn.Module, dims: Dims,
          dtype: str, tokens: int = 48) -> dict[str, float]:
    """Compare, and refuse to go on if the models differ.

    Raises:
        BenchmarkError: If a difference is above the tolerance of the type.
    """
    found = compare(ours, peer, dims, tokens)
    wrong = [key for key, far in found.items()
             if not far <= TOLERANCE[dtype]]  # what is no number is wrong
    if wrong:
        worst = wrong[0]
        raise BenchmarkError(
            f'The models differ: {worst} by {found[worst]:.1e} of its '
            f'size, where {TOLERANCE[dtype]:.0e} is allowed in '
            f'{dtype}. Times of two different functions say nothing; find '
            'the difference first.')
    return found


def _distance(a: torch.Tensor, b: torch.Tensor) -> float:
    a, b = a.detach().double(), b.detach().double()
    return float((a - b).norm() / b.norm())
