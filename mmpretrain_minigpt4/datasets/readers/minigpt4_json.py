# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The toolbox's own JSON for MiniGPT-4."""

import re
from typing import Any

from ...registry import DATASETS
from .image_text import ImageTextDataset

_SPEAKER = re.compile(r'###\s*(Ask|Human|问|Answer|Assistant|答)\s*[:：]\s*')
_ASKING = ('Ask', 'Human', '问')
_IMAGE = re.compile(r'<Img>\s*<ImageHere>\s*</Img>\s*')


@DATASETS.register_module()
class MiniGPT4JSON(ImageTextDataset):
    """What the toolbox's ``MiniGPT4Dataset`` reads, in this package's terms.

    The markers of the speakers are taken off, since the head's template
    writes its own: data that was made for ``###Ask:`` trains a model that
    speaks ``###Human:`` too. Every item has ``img_path``, ``image_id`` and
    either ``prompt`` and ``gt_caption`` or, with several questions,
    ``conversation``. The files::

        data_root/
          conversation_data.json   [{"id": "0", "conversation": "###Ask:
                                     <Img><ImageHere></Img> ... ###Answer:
                                     ..."}, ...]
          image/0.jpg

    Args: As of :class:`ImageTextDataset`.
    """

    METAINFO = {'dataset_type': 'minigpt4_json'}
    LAYOUT = ('DATA_ROOT/ANN_FILE with [{"id": "0", "conversation": "###Ask: '
              '<Img><ImageHere></Img> ... ###Answer: ..."}] and the images '
              'as DATA_ROOT/image/<id>.jpg.')

    def __init__(self,
                 data_root: str = '',
                 ann_file: str = 'conversation_data.json',
                 data_prefix: dict | None = None,
                 **kwargs: Any) -> None:
        super().__init__(
            ann_file=ann_file,
            data_root=data_root,
            data_prefix=data_prefix or dict(img_path='image'),
            **kwargs)

    def read_records(self) -> list[dict]:
        """One item for each entry."""
        content = self.load_json()
        if not isinstance(content, list):
            raise self.wrong(0, content, 'in a list')
        records = []
        for index, entry in enumerate(content):
            if (not isinstance(entry, dict) or 'id' not in entry
                    or not isinstance(entry.get('conversation'), str)):
                raise self.wrong(index, entry,
                                 '{"id": ..., "conversation": "###Ask: ..."}')
            turns = split_turns(entry['conversation'])
            roles = [role for role, _ in turns]
            if not turns or roles != ['user', 'assistant'
                                      ] * (len(turns) // 2):
                raise self.wrong(index, entry,
                                 '###Ask: and ###Answer: by turns')
            record = dict(
                img_path=self.image_path(f'{entry["id"]}.jpg'),
                image_id=str(entry['id']))
            if len(turns) == 2:
                record.update(prompt=turns[0][1], gt_caption=turns[1][1])
            else:
                record['conversation'] = turns
            records.append(record)
        return records


def split_turns(text: str) -> list[tuple[str, str]]:
    """Cut ``###Ask: ... ###Answer: ...`` into turns without the markers."""
    parts = _SPEAKER.split(text)
    if parts[0].strip():
        return []
    turns = []
    for speaker, said in zip(parts[1::2], parts[2::2], strict=True):
        role = 'user' if speaker in _ASKING else 'assistant'
        if role == 'user':
            said = _IMAGE.sub('', said)
        turns.append((role, said.strip().removesuffix('###').strip()))
    return turns
