# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""A prompt as the language model reads it, and what two of them share.

Legend: T tokens, E width of the language model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch


class Prompt(NamedTuple):
    """What stands before an answer.

    ``embeds`` are float[T, E]. ``token_hashes`` identify the T tokens: equal
    hashes at the beginning of two prompts mean equal embeddings, whose keys
    and values are computed once only. Without hashes nothing is shared.
    """
    embeds: torch.Tensor
    token_hashes: tuple[int, ...] = ()


def num_shared_tokens(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens two prompts have in common at their beginnings."""
    if first[:len(second)] == second[:len(first)]:
        return min(len(first), len(second))
    low, high = 0, min(len(first), len(second))
    while low < high:  # comparing slices is faster than one by one
        middle = (low + high + 1) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
