# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The package's registries: children of mmengine's root registries.

A child of the root is found under every default scope; a child of another
toolbox's registry is not.
"""

from mmengine.registry import DATASETS as ROOT_DATASETS
from mmengine.registry import HOOKS as ROOT_HOOKS
from mmengine.registry import LOOPS as ROOT_LOOPS
from mmengine.registry import METRICS as ROOT_METRICS
from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.registry import TRANSFORMS as ROOT_TRANSFORMS
from mmengine.registry import VISUALIZERS as ROOT_VISUALIZERS
from mmengine.registry import Registry

SCOPE = 'mmpretrain_minigpt4'


def _child(name: str, parent: Registry, *rooms: str) -> Registry:
    return Registry(
        name,
        parent=parent,
        scope=SCOPE,
        locations=[f'{SCOPE}.{room}' for room in rooms])


MODELS = _child('model', ROOT_MODELS, 'models')
DATASETS = _child('dataset', ROOT_DATASETS, 'datasets')
TRANSFORMS = _child('transform', ROOT_TRANSFORMS, 'datasets')
METRICS = _child('metric', ROOT_METRICS, 'evaluation')
HOOKS = _child('hook', ROOT_HOOKS, 'engine')
LOOPS = _child('loop', ROOT_LOOPS, 'engine')
VISUALIZERS = _child('visualizer', ROOT_VISUALIZERS, 'engine')
