# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks' readers share: files found, faults counted."""

import json
import logging
import os
from collections.abc import Iterator, Sequence
from typing import Any

from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from ...errors import DatasetError
from ...utils.faults import Faults


class BenchmarkDataset(BaseDataset):
    """Questions or images of a benchmark, from its own files.

    A subclass gives :meth:`read_items`. An item needs ``question_id`` or
    ``image_id`` and, unless it brings ``img``, ``img_path``. Items that
    repeat an id or whose image is missing are faults, as is what a subclass
    finds; up to ``max_faults`` they are logged and left out.

    Args:
        data_root: Folder that the other paths start from.
        ann_file: The file of questions or captions.
        data_prefix: The folder of images.
        expected: How many items the benchmark has; another number is
            logged, since scores then do not compare.
        max_faults: Refuse the files with more faults than that.
        check_images: Look for each image at once, rather than fail in the
            middle.
        pipeline: The transforms.
        kwargs: As of mmengine's ``BaseDataset``; ``test_mode`` is on.

    Raises:
        DatasetError: If a file is missing or unreadable, telling what to
            download and where it belongs, or has too many faults.
    """

    # Where files come from, and how they lie: for messages.
    download = ''
    layout = ''
    # What tells items apart.
    identity: tuple[str, ...] = ('question_id', 'rotation')

    def __init__(self,
                 data_root: str = '',
                 ann_file: str = '',
                 data_prefix: str = '',
                 expected: int | None = None,
                 max_faults: int = 0,
                 check_images: bool = True,
                 pipeline: Sequence = (),
                 **kwargs: Any) -> None:
        self.expected = expected
        self.max_faults = max_faults
        self.check_images = check_images
        kwargs.setdefault('test_mode', True)
        super().__init__(
            ann_file=ann_file,
            data_root=data_root,
            data_prefix=dict(img_path=data_prefix),
            pipeline=list(pipeline),
            **kwargs)

    def read_items(self, faults: Faults) -> Iterator[dict]:
        """Yield an item for each question; note what is wrong."""
        raise NotImplementedError

    def load_data_list(self) -> list[dict]:
        """Read, check and count.

        Raises:
            DatasetError: See the class.
        """
        where = self.ann_file or self.data_prefix['img_path']
        faults = Faults(f'{type(self).__name__}: {where}', self.max_faults,
                        f'Download it again ({self.download})')
        items: dict[tuple, dict] = {}
        images: dict[str, bool] = {}
        for item in self.read_items(faults):
            key = tuple(item.get(name) for name in self.identity)
            name = '/'.join(str(x) for x in key if x is not None)
            path = item.get('img_path')
            if path is not None and path not in images:
                images[path] = not self.check_images or os.path.isfile(path)
                if not images[path]:
                    faults.add('missing images', path)
            if key in items:
                faults.add('repeated ids', name)
            elif path is None or images[path]:
                items[key] = item
        if images and not any(images.values()):
            raise DatasetError(
                f'{type(self).__name__}: none of the {len(images):,} images '
                f'is there, {next(iter(images))} for one. {self._fix()}')
        faults.raise_if_over_budget()
        if not items:
            raise DatasetError(f'{type(self).__name__}: {where} holds '
                               f'nothing. {self._fix()}')
        if self.expected not in (None, len(items)):
            print_log(
                f'{type(self).__name__}: {where} gives {len(items):,} items '
                f'where the benchmark has {self.expected:,}; scores do not '
                'compare with published ones.',
                logger='current',
                level=logging.WARNING)
        return list(items.values())

    def path(self, name: str) -> str:
        """A path below ``data_root``, unless it is absolute."""
        return os.path.join(self.data_root, name)

    def image(self, name: str) -> str:
        """The path of an image in the folder of images."""
        return os.path.join(self.data_prefix['img_path'], name)

    def require(self, path: str, folder: bool = False) -> str:
        """A path, if it is there.

        Raises:
            DatasetError: If not, telling what to download.
        """
        if not (os.path.isdir(path) if folder else os.path.isfile(path)):
            kind = 'folder' if folder else 'file'
            raise DatasetError(
                f'{type(self).__name__} needs the {kind} {path}, which is '
                f'not there. {self._fix()}')
        return path

    def read_json(self, path: str, *keys: str) -> Any:
        """The content of a JSON file, with keys that it must have."""
        self.require(path)
        try:
            with open(path, encoding='utf-8') as file:
                content = json.load(file)
        except (ValueError, UnicodeDecodeError) as error:
            raise DatasetError(
                f'{type(self).__name__}: {path} is not JSON ({error}). '
                f'{self._fix()}') from error
        for key in keys:
            if not isinstance(content, dict) or key not in content:
                raise DatasetError(
                    f'{type(self).__name__}: {path} has no {key!r}; it is '
                    f'another file. {self._fix()}')
        return content

    def read_json_lines(self, path: str, faults: Faults) -> Iterator[dict]:
        """Dicts, one a line; a line that is none is a fault."""
        self.require(path)
        with open(path, encoding='utf-8') as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    item = json.loads(line)
                except ValueError:
                    item = None
                if isinstance(item, dict):
                    yield item
                else:
                    faults.add('unreadable lines', number)

    def take(self, raw: dict, faults: Faults, *keys: str) -> bool:
        """Whether an entry has all keys; a lack is a fault."""
        lost = [key for key in keys if raw.get(key) is None]
        for key in lost:
            name = next((raw[k] for k in ('question_id', 'id', 'image_id',
                                          'image') if k in raw), raw)
            faults.add(f'entries without {key!r}', str(name)[:60])
        return not lost

    def _fix(self) -> str:
        return (f'Download: {self.download}. It belongs here:\n'
                f'{self.layout.rstrip()}\n'
                f'with data_root={self.data_root!r}.')
