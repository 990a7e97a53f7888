# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Captions in one JSON file, as COCO and LAVIS have them."""

from typing import Any

from ...registry import DATASETS
from .image_text import ImageTextDataset


@DATASETS.register_module()
class CaptionJSON(ImageTextDataset):
    """Images with captions from a JSON file of either form.

    * COCO's: ``{"images": [{"id": 1, "file_name": "a.jpg"}],
      "annotations": [{"image_id": 1, "caption": "..."}]}``;
    * LAVIS's: ``[{"image": "a.jpg", "caption": "..." or ["...", ...]}]``,
      perhaps with ``image_id``.

    Every caption is an item of its own, with ``img_path``, ``image_id`` and
    ``gt_caption``; with ``instructions``, also ``prompt``.

    Args: As of :class:`ImageTextDataset`.
    """

    METAINFO = {'dataset_type': 'caption_json'}
    LAYOUT = ('DATA_ROOT/ANN_FILE as {"images": [{"id": 1, "file_name": '
              '"a.jpg"}], "annotations": [{"image_id": 1, "caption": '
              '"..."}]} or as [{"image": "a.jpg", "caption": "..."}], and '
              'the images below DATA_ROOT and data_prefix["img_path"].')

    def read_records(self) -> list[dict]:
        """One item for each caption."""
        content = self.load_json()
        if isinstance(content, list):
            return [
                record for index, entry in enumerate(content)
                for record in self._from_list(index, entry)
            ]
        if not isinstance(content, dict) or not all(
                isinstance(content.get(key), list)
                for key in ('images', 'annotations')):
            raise self.wrong(0, content, 'in "images" and "annotations"')
        return self._from_coco(content)

    def _from_coco(self, content: dict) -> list[dict]:
        names = {}
        for index, entry in enumerate(content['images']):
            if not isinstance(entry, dict) or not {'id', 'file_name'
                                                   } <= set(entry):
                raise self.wrong(index, entry,
                                 '{"id": ..., "file_name": "..."}')
            names[entry['id']] = entry['file_name']
        records = []
        for index, entry in enumerate(content['annotations']):
            if not isinstance(entry, dict) or not isinstance(
                    entry.get('caption'), str):
                raise self.wrong(index, entry,
                                 '{"image_id": ..., "caption": "..."}')
            if entry.get('image_id') not in names:
                raise self.wrong(
                    index, entry, 'about an image_id that is among "images"')
            records.append(
                dict(
                    img_path=self.image_path(names[entry['image_id']]),
                    image_id=entry['image_id'],
                    gt_caption=entry['caption']))
        return records

    def _from_list(self, index: int, entry: Any) -> list[dict]:
        wanted = '{"image": "a.jpg", "caption": "..."}'
        if not isinstance(entry, dict) or not isinstance(
                entry.get('image'), str):
            raise self.wrong(index, entry, wanted)
        captions = entry.get('caption')
        if isinstance(captions, str):
            captions = [captions]
        if not isinstance(captions, list) or not captions or not all(
                isinstance(text, str) for text in captions):
            raise self.wrong(index, entry, wanted)
        return [
            dict(
                img_path=self.image_path(entry['image']),
                image_id=entry.get('image_id', entry['image']),
                gt_caption=text) for text in captions
        ]
