# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Images to describe: COCO, Flickr30k, NoCaps."""

import os
import random
from collections.abc import Iterator

from ...errors import DatasetError
from ...registry import DATASETS
from ...utils.faults import Faults
from .base import BenchmarkDataset


@DATASETS.register_module()
class KarpathyCaptions(BenchmarkDataset):
    """Karpathy's splits of COCO and Flickr30k, one item for each image.

    The toolbox's Flickr30k reader gives an image once for each of its five
    captions; that would be described five times.

    Args:
        split: ``val`` or ``test``.
        kwargs: As of :class:`~.base.BenchmarkDataset`.
    """

    download = ('https://cs.stanford.edu/people/karpathy/deepimagesent/'
                'caption_datasets.zip; images from https://cocodataset.org '
                'or https://shannon.cs.illinois.edu/DenotationGraph')
    layout = """
      data/coco/annotations/dataset_coco.json, data/coco/val2014/*.jpg
      data/flickr30k/dataset_flickr30k.json, data/flickr30k/images/*.jpg"""
    identity = ('image_id', )

    def __init__(self, split: str = 'test', **kwargs) -> None:
        self.split = split
        super().__init__(**kwargs)

    def read_items(self, faults: Faults) -> Iterator[dict]:
        """Yield the split's images with their captions."""
        images = self.read_json(self.ann_file, 'images')['images']
        splits = {image.get('split') for image in images}
        if self.split not in splits:
            raise DatasetError(
                f'{self.ann_file} has no split {self.split!r}; it has '
                f'{", ".join(sorted(map(str, splits)))}.')
        for image in images:
            if image.get('split') != self.split or not self.take(
                    image, faults, 'filename', 'sentences'):
                continue
            name = os.path.join(image.get('filepath', ''), image['filename'])
            yield dict(
                image_id=image.get('cocoid', image.get('imgid')),
                img_path=self.image(name),
                gt_caption=[s['raw'] for s in image['sentences']])


@DATASETS.register_module()
class COCOFormatCaptions(BenchmarkDataset):
    """Images with captions in COCO's own format, one item for each image.

    For COCO itself and for NoCaps, whose ``domain`` is kept. A file without
    captions (NoCaps' test split) gives images alone.

    Args:
        num_images: Draw that many images, the same ones each time.
        seed: Which ones.
        kwargs: As of :class:`~.base.BenchmarkDataset`.
    """

    download = ('COCO: annotations_trainval2014.zip and val2014.zip from '
                'https://cocodataset.org; NoCaps: nocaps_val_4500_captions'
                '.json and images from https://nocaps.org/download')
    layout = """
      data/coco/annotations/captions_val2014.json, data/coco/val2014/*.jpg
      data/nocaps/nocaps_val_4500_captions.json, data/nocaps/images/*.jpg"""
    identity = ('image_id', )

    def __init__(self, num_images: int | None = None, seed: int = 42,
                 **kwargs) -> None:
        self.num_images = num_images
        self.seed = seed
        super().__init__(**kwargs)

    def read_items(self, faults: Faults) -> Iterator[dict]:
        """Yield images with their captions."""
        content = self.read_json(self.ann_file, 'images')
        captions: dict = {}
        for item in content.get('annotations', []):
            captions.setdefault(item['image_id'], []).append(item['caption'])
        images = {}
        for image in content['images']:
            if self.take(image, faults, 'id', 'file_name'):
                if image['id'] in images:
                    faults.add('repeated ids', image['id'])
                images[image['id']] = image
        for name in set(captions) - set(images):
            faults.add('captions of no image', name)
        chosen = list(images)
        if self.num_images is not None:
            if self.num_images > len(images):
                raise DatasetError(
                    f'{self.ann_file} has {len(images):,} images; '
                    f'num_images={self.num_images:,} are wanted.')
            # Sorted first: the file's order must not matter.
            chosen = sorted(
                random.Random(self.seed).sample(
                    sorted(images), self.num_images))
        for name in chosen:
            image = images[name]
            item = dict(image_id=name,
                        img_path=self.image(image['file_name']))
            if name in captions:
                item['gt_caption'] = captions[name]
            if 'domain' in image:
                item['domain'] = image['domain']
            yield item
