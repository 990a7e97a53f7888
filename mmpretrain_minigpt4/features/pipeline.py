# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Which steps of a pipeline make the image, and which the text."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.registry import TRANSFORMS, DefaultScope

from ..errors import FeatureCacheError
from .index import FeatureIndex, plain

LOOK_UP = 'mmpretrain_minigpt4.LookUpFeatures'
# Of the toolbox: the same image in, the same image out. A step of one's own
# says it by a class attribute ``reads_image``.
IMAGE_STEPS = ('LoadImageFromFile', 'Resize', 'ResizeEdge', 'CenterCrop',
               'Pad', 'Normalize', 'ToPIL', 'ToNumpy', 'NumpyToPIL',
               'PILToNumpy')
_RANDOM = re.compile(
    'Random|Rand[A-Z]|Jitter|AutoAug|AugMix|Mosaic|Mixup|CutMix|Noise')


def split(pipeline: Sequence[Mapping]) -> tuple[list[dict], list[dict]]:
    """The steps that make the image, and all others, packing included.

    Raises:
        FeatureCacheError: If a step draws random numbers, or cannot be told.
    """
    image, others = [], []
    for step in pipeline:
        _refuse_random(step)
        name, cls = _resolve(step)
        reads = getattr(cls, 'reads_image', None)
        if reads is None and not (name in IMAGE_STEPS
                                  or name.startswith('Pack')):
            raise FeatureCacheError(
                f'It cannot be told whether the step {name} of the pipeline '
                'changes the image. Give its class an attribute reads_image '
                '= True (an image step that is the same each time) or False '
                '(a step that leaves the image alone).')
        if reads is None:
            reads = name in IMAGE_STEPS
        (image if reads else others).append(dict(step))
    if not any(_resolve(step)[0].startswith('Pack') for step in others):
        raise FeatureCacheError(
            'The pipeline has no PackInputs, so it gives no images that '
            'features could stand for.')
    return image, others


def pipelines(dataset: Mapping) -> Iterator[Mapping]:
    """Every config with a pipeline in that of a data set or a wrapper."""
    if dataset.get('pipeline') is not None:
        yield dataset
    inner = dataset.get('dataset')
    for each in [inner, *(dataset.get('datasets') or ())]:
        if isinstance(each, Mapping):
            yield from pipelines(each)


def image_steps(dataset: Mapping) -> tuple[list[dict], dict]:
    """The image steps of a data set's config, and its packing step.

    Raises:
        FeatureCacheError: If there is no pipeline, or several differ.
    """
    found = [split(each['pipeline']) for each in pipelines(dataset)]
    if not found:
        raise FeatureCacheError('The data set has no pipeline.')
    if any(plain(image) != plain(found[0][0]) for image, _ in found):
        raise FeatureCacheError(
            'The data sets preprocess their images in different ways; '
            'features are kept for one way alone.')
    image, others = found[0]
    pack = next(x for x in others if _resolve(x)[0].startswith('Pack'))
    return image, dict(
        type=pack['type'],
        meta_keys=(),
        **{k: v for k, v in pack.items() if k == 'input_key'})


def look_up(dataset: Mapping, features: str) -> None:
    """Let a data set's config take features in place of images.

    Args:
        dataset: The config, which is changed.
        features: The folder of the cache.

    Raises:
        FeatureCacheError: If the cache was made by another preprocessing.
    """
    index = FeatureIndex.read(features)
    if all(each['pipeline'] and each['pipeline'][0].get('type') == LOOK_UP
           for each in pipelines(dataset)):
        return  # the config that a run has left in its folder
    steps, pack = image_steps(dataset)
    index.check_preprocessing(dict(steps=plain(steps)))
    first = dict(type=LOOK_UP, features=features)
    if 'input_key' in pack:
        first['input_key'] = pack['input_key']
    for each in pipelines(dataset):
        each['pipeline'] = [first, *split(each['pipeline'])[1]]


def _resolve(step: Mapping) -> tuple[str, Any]:
    kind = step.get('type')
    if not isinstance(kind, str):
        return getattr(kind, '__name__', str(kind)), kind
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return kind.rsplit('.', 1)[-1], TRANSFORMS.get(kind)


def _refuse_random(step: Any) -> None:
    if isinstance(step, Mapping):
        if 'type' in step:
            name, cls = _resolve(step)
            drawn = getattr(cls, '_methods_with_randomness', None)
            if drawn or _RANDOM.search(name):
                raise FeatureCacheError(
                    f'The pipeline changes images at random ({name}), so '
                    'their features differ each time and cannot be kept. '
                    'Take that step out, or train without features.')
        for value in step.values():
            _refuse_random(value)
    elif isinstance(step, (list, tuple)):
        for value in step:
            _refuse_random(value)
