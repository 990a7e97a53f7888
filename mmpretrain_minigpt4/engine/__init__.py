# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
from .save_trained import SaveTrainedHook
from .visualization import TextVisualizationHook

__all__ = [
    'SaveTrainedHook', 'TextVisualizationHook'
]
