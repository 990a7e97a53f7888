# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Telling whether weights are the same, whatever file they lie in."""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

LENGTH = 16  # hexadecimal digits


def tensor_digest(tensor: Tensor) -> str:
    """16 digits that stand for a tensor's shape and numbers.

    The numbers are taken in float32, so that a copy in a wider type is the
    same; one in a narrower type is the same only if nothing was rounded.
    """
    digest = hashlib.sha256(str(list(tensor.shape)).encode())
    flat = tensor.detach().to('cpu', torch.float32).contiguous()
    # float32[...] -> uint8[4 * number]
    digest.update(flat.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:LENGTH]


def state_digests(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """The digest of each tensor, by name."""
    return {key: tensor_digest(tensors[key]) for key in sorted(tensors)}


def digest_of(digests: Mapping[str, str]) -> str:
    """One digest that stands for all of them."""
    text = '\n'.join(f'{key} {digests[key]}' for key in sorted(digests))
    return hashlib.sha256(text.encode()).hexdigest()
