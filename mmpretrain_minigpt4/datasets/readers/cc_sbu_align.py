# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The second stage's careful descriptions."""

from collections.abc import Sequence
from typing import Any

from ...prompts import STAGE2_INSTRUCTIONS
from ...registry import DATASETS
from .image_text import ImageTextDataset


@DATASETS.register_module()
class CCSBUAlign(ImageTextDataset):
    """``cc_sbu_align``: about 3,500 images with long descriptions.

    Every item has ``img_path``, ``image_id``, ``gt_caption`` and
    ``prompt``. The files::

        data/cc_sbu_align/
          filter_cap.json   {"annotations": [{"image_id": "2",
                                              "caption": "..."}, ...]}
          image/2.jpg

    Args:
        data_root: The folder.
        ann_file: The descriptions.
        data_prefix: Where the images are.
        instructions: One is drawn for each sample. The original draws one
            for each batch: add ``collate_fn=dict(
            type='mmpretrain_minigpt4.one_instruction')`` to the loader.
        kwargs: As of :class:`ImageTextDataset`.

    Source: the MiniGPT-4 paper, section 3.2.
    """

    METAINFO = {'dataset_type': 'cc_sbu_align'}
    LAYOUT = ('DATA_ROOT/filter_cap.json with {"annotations": [{"image_id": '
              '"2", "caption": "..."}]} and the images as '
              'DATA_ROOT/image/<image_id>.jpg.')

    def __init__(self,
                 data_root: str = 'data/cc_sbu_align',
                 ann_file: str = 'filter_cap.json',
                 data_prefix: dict | None = None,
                 instructions: Sequence[str] = STAGE2_INSTRUCTIONS,
                 **kwargs: Any) -> None:
        super().__init__(
            ann_file=ann_file,
            data_root=data_root,
            data_prefix=data_prefix or dict(img_path='image'),
            instructions=instructions,
            **kwargs)

    def read_records(self) -> list[dict]:
        """One item for each annotation."""
        content = self.load_json()
        entries = content.get('annotations') if isinstance(
            content, dict) else content
        if not isinstance(entries, list):
            raise self.wrong(0, content, 'in a list "annotations"')
        records = []
        for index, entry in enumerate(entries):
            if (not isinstance(entry, dict) or 'image_id' not in entry
                    or not isinstance(entry.get('caption'), str)):
                raise self.wrong(index, entry,
                                 '{"image_id": ..., "caption": "..."}')
            name = str(entry['image_id'])
            records.append(
                dict(
                    img_path=self.image_path(f'{name}.jpg'),
                    image_id=name,
                    gt_caption=entry['caption']))
        return records
