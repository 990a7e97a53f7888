# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Captions as the first stage reads them."""

from collections.abc import Sequence
from typing import Any

from mmcv.transforms import BaseTransform

from ...errors import ConfigError, DatasetError
from ...registry import TRANSFORMS

# Source: BLIP's caption processor, which MiniGPT-4's stage 1 uses. Commas,
# apostrophes, hyphens and question marks stay.
STRIPPED = '.!"()*#:;~'
_BLANKS = str.maketrans(dict.fromkeys(STRIPPED, ' '))


def clean_caption(text: str, max_words: int = 50) -> str:
    """Lower-case, without some punctuation, and at most ``max_words`` long.

    Any run of white space becomes one blank. (The original leaves a lone
    line break inside a caption; there it would read as the end.)

    Args:
        text: A caption from the web.
        max_words: Words to keep, as blanks divide them.
    """
    words = text.lower().translate(_BLANKS).split()
    return ' '.join(words[:max_words])


@TRANSFORMS.register_module()
class CleanCaption(BaseTransform):
    """Clean the caption of a sample with :func:`clean_caption`.

    The newline that ends a caption of stage 1 is the head's, by
    ``template='bare'``.

    Modified Keys: ``keys``, where they are texts.

    Args:
        keys: The texts to clean.
        max_words: Words to keep.

    Raises:
        ConfigError: If ``max_words`` is below 1.
    """

    reads_image = False

    def __init__(self, keys: Sequence[str] = ('gt_caption', ),
                 max_words: int = 50) -> None:
        if max_words < 1:
            raise ConfigError(f'max_words must be at least 1, got '
                              f'{max_words}.')
        self.keys = (keys, ) if isinstance(keys, str) else tuple(keys)
        self.max_words = max_words

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Clean the texts.

        Raises:
            DatasetError: If nothing is left of one.
        """
        for key in self.keys:
            text = results.get(key)
            if isinstance(text, str):
                results[key] = clean_caption(text, self.max_words)
                if not results[key]:
                    raise DatasetError(
                        f'Nothing is left of the caption {text[:40]!r} '
                        'without its punctuation.')
        return results

    def __repr__(self) -> str:
        return (f'{type(self).__name__}(keys={self.keys}, '
                f'max_words={self.max_words})')
