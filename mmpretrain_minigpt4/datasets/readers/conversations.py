# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Conversations about no, one or several images, in LLaVA's form."""

from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform, Compose

from ...errors import ConfigError, DatasetError
from ...prompts import IMAGE_CLOSE, IMAGE_OPEN, ImageSlot, Piece, with_images
from ...registry import DATASETS, TRANSFORMS
from .image_text import ImageTextDataset

PLACE = '<image>'
_ROLES = dict(human='user', user='user', gpt='assistant',
              assistant='assistant')


@DATASETS.register_module()
class Conversations(ImageTextDataset):
    """Several turns each; the loss is taken on every answer.

    Every item has ``img_paths`` (a list), ``image_id`` and ``conversation``,
    a list of ``(role, content)``, and where there is one ``system``. Images
    stand where ``<image>`` does, and before the first question when it
    stands nowhere. The file::

        [{"id": "7",
          "image": "a.jpg",            or "images": ["a.jpg", "b.jpg"],
                                       or neither
          "conversations": [
            {"from": "human", "value": "<image>\\nWhat is this?"},
            {"from": "gpt", "value": "A dog."}, ...]}]

    Args:
        max_turns: Questions to keep of each conversation, from the first.
        kwargs: As of :class:`ImageTextDataset`.
    """

    METAINFO = {'dataset_type': 'conversations'}
    LAYOUT = ('DATA_ROOT/ANN_FILE with [{"id": "7", "image": "a.jpg", '
              '"conversations": [{"from": "human", "value": '
              '"<image>\\nWhat is this?"}, {"from": "gpt", "value": "A '
              'dog."}]}] and the images below DATA_ROOT and '
              'data_prefix["img_path"].')

    def __init__(self, *args: Any, max_turns: int = 50,
                 **kwargs: Any) -> None:
        if max_turns < 1:
            raise ConfigError('max_turns must be at least 1, got '
                              f'{max_turns}.')
        self.max_turns = max_turns
        super().__init__(*args, **kwargs)

    def read_records(self) -> list[dict]:
        """One item for each conversation."""
        content = self.load_json()
        if not isinstance(content, list):
            raise self.wrong(0, content, 'in a list')
        return [self._record(i, entry) for i, entry in enumerate(content)]

    def prepare_data(self, idx: int) -> Any:
        """A conversation through the pipeline.

        Raises:
            DatasetError: If an answer is empty.
        """
        for role, text in self.get_data_info(idx)['conversation']:
            if role == 'assistant' and not text.strip():
                raise DatasetError('One of its answers is empty.')
        return super().prepare_data(idx)

    def _record(self, index: int, entry: Any) -> dict:
        if not isinstance(entry, dict) or not isinstance(
                entry.get('conversations'), list):
            raise self.wrong(index, entry, '{"conversations": [...], ...}')
        images = entry.get('images', entry.get('image')) or []
        images = [images] if isinstance(images, str) else list(images)
        if not all(isinstance(name, str) for name in images):
            raise self.wrong(index, entry, 'with file names as images')
        turns, system = [], None
        for turn in entry['conversations']:
            speaker = turn.get('from') if isinstance(turn, dict) else None
            said = turn.get('value') if isinstance(turn, dict) else None
            if speaker == 'system' and not turns and isinstance(said, str):
                system = said
                continue
            if speaker not in _ROLES or not isinstance(said, str):
                raise self.wrong(
                    index, turn, '{"from": "human" or "gpt", "value": "..."}')
            turns.append((_ROLES[speaker], said))
        roles = [role for role, _ in turns]
        if not turns or roles != ['user', 'assistant'] * (len(turns) // 2):
            raise self.wrong(index, entry, 'human and gpt by turns')
        turns = self._place_images(index, entry, turns, len(images))
        record = dict(
            img_paths=[self.image_path(name) for name in images],
            image_id=str(entry.get('id', index)),
            conversation=turns[:2 * self.max_turns])
        # Images of turns that were left out are left out with them.
        used = sum(
            isinstance(piece, ImageSlot)
            for role, pieces in record['conversation'] if role == 'user'
            for piece in pieces)
        record['img_paths'] = record['img_paths'][:used]
        if system is not None:
            record['system'] = system
        return record

    def _place_images(self, index: int, entry: Any, turns: list,
                      num_images: int) -> list:
        places = sum(said.count(PLACE) for role, said in turns
                     if role == 'user')
        if places not in (0, num_images):
            raise self.wrong(
                index, entry, f'with as many {PLACE} as images; it has '
                f'{places} and {num_images}')
        placed = []
        for number, (role, said) in enumerate(turns):
            if role == 'user':
                said = (place_images(said) if places else with_images(
                    said.strip(), 0 if number else num_images))
            else:
                said = said.strip()
            placed.append((role, said))
        return placed

    def _name(self, index: int) -> str:
        paths = self.get_data_info(index)['img_paths']
        return paths[0] if paths else self._source


def place_images(text: str) -> list[Piece]:
    """Put ``<Img>`` slot ``</Img>`` where ``<image>`` stands.

    The white space around is LLaVA's line break, not the user's words.
    """
    pieces: list[Piece] = []
    parts = [part.strip() for part in text.split(PLACE)]
    for number, part in enumerate(parts):
        if number:
            pieces += [IMAGE_OPEN, ImageSlot(), IMAGE_CLOSE + ' ']
        if part:
            last = number == len(parts) - 1
            pieces.append(part if last else part + ' ')
    return pieces


@TRANSFORMS.register_module()
class EachImage(BaseTransform):
    """Put every image of a sample through the same transforms.

    Required Keys: ``img_paths``. Added Keys: ``img``, uint8[n, 3, H, W];
    without images uint8[0, 3, 1, 1].

    Args:
        transforms: What reads ``img_path`` and gives ``img``, all of one
            size, for instance ``LoadImage`` and ``Resize``.
    """

    reads_image = True

    def __init__(self, transforms: list) -> None:
        self.transforms = Compose(list(transforms))

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Read all images.

        Raises:
            ImageError: If one cannot be read.
            ConfigError: If they come out with different sizes.
        """
        images = [
            np.asarray(self.transforms(dict(img_path=path))['img'])
            for path in results['img_paths']
        ]
        sizes = {image.shape for image in images}
        if len(sizes) > 1:
            raise ConfigError(
                'EachImage must give all images one size; it gave '
                f'{sorted(sizes)}. Add a Resize to both sides.')
        results['img'] = np.zeros((0, 3, 1, 1), np.uint8)
        if images:
            # uint8[n, H, W, 3] -> uint8[n, 3, H, W]
            results['img'] = np.ascontiguousarray(
                np.stack(images).transpose(0, 3, 1, 2))
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.transforms})'
