# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The feature cache: the output of the frozen vision part, computed once.

A cache is a folder of shards (``store.py``) with an index (``index.py``)
that tells which weights and which preprocessing they come from. Its entries
go by the image's content (``keys.py``). ``pipeline.py`` tells the steps of a
pipeline that touch the image from those that do not.
"""

from .index import FeatureIndex
from .keys import image_key, image_sources
from .store import FeatureStore, ShardWriter

__all__ = [
    'FeatureIndex', 'FeatureStore', 'ShardWriter', 'image_key',
    'image_sources'
]
