# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""What the readers of images with texts share."""

import json
import logging
import os
import random
from collections.abc import Sequence
from typing import Any

from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from ...errors import ConfigError, DatasetError, ImageError
from ..error_budget import Broken, ErrorBudget, annotate

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.webp', '.bmp', '.gif', '.tif',
                  '.tiff')


class ImageTextDataset(BaseDataset):
    """Images in files, each with text; a base for the readers.

    Its files are checked before anything else. In training, a sample that
    cannot be read is named, counted and replaced by another one, until the
    share of broken ones is spent; in tests it is an error.

    Args:
        ann_file: The annotation file, below ``data_root``.
        data_root: The folder of the data set.
        data_prefix: ``dict(img_path=...)``, the folder of the images, below
            ``data_root``.
        instructions: One of them becomes the ``prompt`` of each sample; an
            empty list gives none, and the head's own is used.
        seed: Of that choice. A sample keeps its instruction.
        max_broken_share: The share of broken samples at which training
            stops.
        pipeline: The transforms.
        test_mode: Whether nothing may be replaced.
        kwargs: As of the toolbox's ``BaseDataset``.

    Raises:
        DatasetError: If files are missing or not of the stated format. It
            tells where they should lie.
    """

    LAYOUT = ''

    def __init__(self,
                 ann_file: str = '',
                 data_root: str = '',
                 data_prefix: dict | None = None,
                 instructions: Sequence[str] = (),
                 seed: int = 42,
                 max_broken_share: float = 0.2,
                 pipeline: Sequence = (),
                 test_mode: bool = False,
                 **kwargs: Any) -> None:
        if isinstance(instructions, str):
            instructions = [instructions]
        for text in instructions:
            if not isinstance(text, str) or not text.strip():
                raise ConfigError('instructions is a list of texts, got '
                                  f'{text!r}.')
        self.instructions = tuple(instructions)
        self.seed = seed
        self.budget = ErrorBudget(max_broken_share)
        super().__init__(
            ann_file=ann_file,
            data_root=data_root,
            data_prefix=dict(data_prefix or dict(img_path='')),
            pipeline=list(pipeline),
            test_mode=test_mode,
            **kwargs)

    def read_records(self) -> list[dict]:
        """The samples, each with ``img_path`` and texts; of a subclass."""
        raise NotImplementedError

    def load_data_list(self) -> list[dict]:
        """Read the annotations and see whether the images are there."""
        records = self.read_records()
        if not records:
            raise DatasetError(f'{self._source} holds no samples.'
                               f'{self._layout()}')
        self.budget.min_read = min(self.budget.min_read, len(records))
        self._check_images(records)
        if self.instructions:
            for index, record in enumerate(records):
                if 'prompt' not in record and 'conversation' not in record:
                    record['prompt'] = choose_instruction(
                        self.instructions, self.seed, index)
        return records

    def __getitem__(self, idx: int) -> Any:
        """A sample through the pipeline, or in training one in its place.

        Raises:
            DatasetError: If more samples are broken than allowed.
        """
        if not self._fully_initialized:
            self.full_init()
        if self.test_mode:
            return self.prepare_data(idx)
        # The replacement depends on nothing but the broken sample, so that
        # a resumed run sees the same.
        others = random.Random(f'instead of {self.seed} {idx}')
        skipped: list[dict] = []
        index = idx
        while True:
            try:
                item = self.prepare_data(index)
                if item is None:
                    raise DatasetError('The pipeline dropped it.')
            except (ImageError, DatasetError) as error:
                fault = Broken(self._name(index), str(index), str(error))
                skipped.append(fault.as_dict())
                self.budget.spend(fault)
                index = others.randrange(len(self))
                continue
            self.budget.ok()
            return annotate(item, skipped=skipped) if skipped else item

    def prepare_data(self, idx: int) -> Any:
        """A sample through the pipeline.

        Raises:
            DatasetError: If its text is empty.
            ImageError: If its image cannot be read.
        """
        info = self.get_data_info(idx)
        caption = info.get('gt_caption')
        if isinstance(caption, str) and not caption.strip():
            raise DatasetError('The caption is empty.')
        return self.pipeline(info)

    def load_json(self) -> Any:
        """The annotation file.

        Raises:
            DatasetError: If it is missing or no JSON.
        """
        if not os.path.isfile(self.ann_file):
            raise DatasetError(
                f'There is no annotation file {self.ann_file}.'
                f'{self._layout()}')
        try:
            with open(self.ann_file, encoding='utf-8-sig') as file:
                return json.load(file)
        except (ValueError, RecursionError) as error:
            raise DatasetError(f'{self.ann_file} is not valid JSON: {error}. '
                               'Fetch or write it again.') from error

    def image_path(self, name: str) -> str:
        """The path of an image file below the image folder."""
        return os.path.join(self.data_prefix.get('img_path', ''), name)

    def wrong(self, index: int, entry: Any, wanted: str) -> DatasetError:
        """The error for an entry that is not as it should be."""
        shown = json.dumps(entry, ensure_ascii=False, default=str)[:80]
        return DatasetError(
            f'Entry {index} of {self.ann_file} should be {wanted}, it is '
            f'{shown}.{self._layout()}')

    @property
    def _source(self) -> str:
        return self.ann_file or self.data_root

    def _layout(self) -> str:
        if not self.LAYOUT:
            return ''
        return (f' {type(self).__name__} expects: {self.LAYOUT} docs/data.md '
                'tells more.')

    def _name(self, index: int) -> str:
        info = self.get_data_info(index)
        return str(info.get('img_path') or self._source)

    def _check_images(self, records: Sequence[dict]) -> None:
        missing = missing_files(
            path for record in records
            for path in record.get('img_paths', [record.get('img_path')])
            if path)
        if not missing:
            return
        text = (f'{len(missing):,} images of {self._source} '
                f'({len(records):,} samples) are not where they should be, '
                f'for instance {missing[0]}.')
        share = len(missing) / len(records)
        if self.test_mode or share > self.budget.max_share:
            raise DatasetError(text + self._layout())
        print_log(f'{text} Their samples are replaced by others.',
                  logger='current', level=logging.WARNING)


def choose_instruction(instructions: Sequence[str], seed: int,
                       index: int) -> str:
    """An instruction at random, the same one each time."""
    return random.Random(f'instruction {seed} {index}').choice(
        list(instructions))


def missing_files(paths: Sequence[str]) -> list[str]:
    """The paths that are not there; each folder is listed only once."""
    listed: dict[str, set[str]] = {}
    missing = []
    for path in dict.fromkeys(paths):
        folder, name = os.path.split(path)
        if folder not in listed:
            try:
                listed[folder] = set(os.listdir(folder or '.'))
            except OSError:
                listed[folder] = set()
        if name not in listed[folder]:
            missing.append(path)
    return missing
