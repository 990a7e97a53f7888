# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The world of the tiny twin: drawn scenes of coloured shapes.

``draw_scene(seed)`` gives a picture and everything that can truly be said
about it. Seeds from :data:`TEST_SEED` on are for tests and never trained on.
"""

from .scene import TEST_SEED, Scene, SceneObject, draw_scene
from .words import BACKGROUNDS, COLORS, PLACES, SHAPES, SIZES

__all__ = [
    'BACKGROUNDS', 'COLORS', 'PLACES', 'SHAPES', 'SIZES', 'TEST_SEED', 'Scene',
    'SceneObject', 'draw_scene'
]
