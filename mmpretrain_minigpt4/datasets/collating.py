# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""From samples to a batch."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.dataset import pseudo_collate
from torch.utils.data import default_collate as stack

from ..registry import FUNCTIONS


@FUNCTIONS.register_module(name='list_images')
def list_images(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A batch whose samples may differ in their number of images.

    Args:
        items: Dicts with ``inputs`` and ``data_samples``.

    Returns:
        dict: A list of each. Needs the data preprocessor
        ``mmpretrain_minigpt4.ImageListPreprocessor``.
    """
    return pseudo_collate(items)


@FUNCTIONS.register_module(name='one_instruction')
def one_instruction(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A batch in which all samples have the first one's ``prompt``.

    As the original recipe: it draws one instruction for each batch. Which
    sample comes first is the sampler's chance.

    Args:
        items: Dicts with ``inputs``, uint8[3, H, W], and ``data_samples``.

    Returns:
        dict: ``inputs``, uint8[B, 3, H, W], and ``data_samples``, a list.
    """
    samples = [item['data_samples'] for item in items]
    first = samples[0].get('prompt')
    if first is not None:
        for sample in samples:
            sample.set_field(first, 'prompt')
    return dict(
        inputs=stack([item['inputs'] for item in items]),
        data_samples=samples)
