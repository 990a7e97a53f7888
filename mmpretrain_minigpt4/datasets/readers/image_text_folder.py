# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""A folder of images, each with a text file beside it."""

import os
from pathlib import Path

from ...errors import DatasetError
from ...registry import DATASETS
from .image_text import IMAGE_SUFFIXES, ImageTextDataset


@DATASETS.register_module()
class ImageTextFolder(ImageTextDataset):
    """``dog.jpg`` with ``dog.txt``: the simplest form of one's own data.

    Folders inside are read too, files whose names begin with a dot are not.
    The whole text file, stripped, is the caption. Every item has
    ``img_path``, ``image_id`` (the path below ``data_root``, without its
    suffix) and ``gt_caption``; with ``instructions``, also ``prompt``.

    Args: As of :class:`ImageTextDataset`; there is no ``ann_file``.
    """

    METAINFO = {'dataset_type': 'image_text_folder'}
    LAYOUT = 'DATA_ROOT/any/name.jpg with its text as DATA_ROOT/any/name.txt.'

    def read_records(self) -> list[dict]:
        """One item for each image that has a text.

        Raises:
            DatasetError: If images lack texts beyond the broken share, or
                two images share a text.
        """
        root = Path(self.image_path('') or self.data_root or '.')
        if not root.is_dir():
            raise DatasetError(f'There is no folder {root}.{self._layout()}')
        records, lonely, owners = [], [], {}
        for folder, folders, names in os.walk(root):
            folders[:] = sorted(x for x in folders if not x.startswith('.'))
            present = set(names)
            for name in sorted(names):
                stem, suffix = os.path.splitext(name)
                if (name.startswith('.')
                        or suffix.lower() not in IMAGE_SUFFIXES):
                    continue
                path = Path(folder, name)
                if f'{stem}.txt' not in present:
                    lonely.append(path)
                    continue
                text = path.with_name(f'{stem}.txt')
                if text in owners:
                    raise DatasetError(
                        f'{owners[text].name} and {name} in {folder} share '
                        f'one text, {text.name}. Rename one of them.')
                owners[text] = path
                records.append(
                    dict(
                        img_path=str(path),
                        image_id=path.relative_to(root).with_suffix(
                            '').as_posix(),
                        gt_caption=_read(text)))
        self._check_lonely(lonely, len(records))
        return records

    def _check_lonely(self, lonely: list[Path], paired: int) -> None:
        total = paired + len(lonely)
        if len(lonely) > self.budget.max_share * total:
            raise DatasetError(
                f'{len(lonely):,} of {total:,} images have no text file, for '
                f'instance {lonely[0]}.{self._layout()}')
        for path in lonely:
            self.left_out.append(str(path))

    @property
    def left_out(self) -> list[str]:
        """Images without a text; they are no items."""
        return self.__dict__.setdefault('_left_out', [])


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding='utf-8-sig').strip()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f'{path} cannot be read as UTF-8 text: '
                           f'{error}.') from error
