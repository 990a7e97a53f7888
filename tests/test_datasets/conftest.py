# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
import pytest


@pytest.fixture
def pipeline():
    """Reads an image and packs every text."""
    return [
        dict(type='mmpretrain_minigpt4.LoadImage'),
        dict(
            type='mmpretrain.PackInputs',
            algorithm_keys=['prompt', 'gt_caption', 'conversation', 'system'],
            meta_keys=['image_id', 'img_path']),
    ]
