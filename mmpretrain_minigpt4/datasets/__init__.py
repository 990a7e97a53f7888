# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
from .shapes.dataset import ShapesDataset
from .transforms import LoadImage

__all__ = ['LoadImage', 'ShapesDataset']
