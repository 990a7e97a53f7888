# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The graph: backbone, neck, projector, head, and MiniGPT4 around them."""

from .backbones import EVAViT
from .data_preprocessor import FeaturePreprocessor, ImageListPreprocessor
from .heads import VicunaHead
from .minigpt4 import MiniGPT4
from .necks import LinearProjector, PatchMerger, QFormer

__all__ = [
    'EVAViT', 'FeaturePreprocessor', 'ImageListPreprocessor',
    'LinearProjector', 'MiniGPT4', 'PatchMerger', 'QFormer', 'VicunaHead'
]
