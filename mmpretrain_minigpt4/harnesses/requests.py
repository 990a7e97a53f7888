# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""What a harness asks for, in the words of this package."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..errors import ConfigError
from ..generation import SamplingParams
from ..prompts import IMAGE_CLOSE, IMAGE_OPEN, ImageSlot, Piece

# Where the tasks of lmms-eval put an image among the words.
MARK = '<image>'
# What is called otherwise there.
SYNONYMS = dict(max_gen_toks='max_new_tokens', until='stops')
# Read only when sampling; many tasks set them (top_p: 0) and decode greedily.
SAMPLING = ('temperature', 'top_p', 'top_k')
OPTIONS = tuple(SamplingParams.__dataclass_fields__)


def decoding(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Translate a task's ``generation_kwargs``, which are left as they are.

    A temperature above 0 means sampling unless ``do_sample`` says otherwise;
    without either, decoding is greedy. What this package has no word for is
    left out, with a warning.

    Returns:
        dict: Decoding options, all hashable; those that the task does not
        set are the model's own.

    Raises:
        GenerationError: If a value has no meaning.
    """
    found: dict[str, Any] = {}
    unknown = []
    for key, value in settings.items():
        name = SYNONYMS.get(key, key)
        if name not in OPTIONS:
            unknown.append(str(key))
        elif value is not None:
            found[name] = value
    if unknown:
        warnings.warn(
            'These generation_kwargs of a task are not used: '
            f'{", ".join(unknown)}.',
            stacklevel=2)
    if 'stops' in found:
        stops = found['stops']
        stops = [stops] if isinstance(stops, str) else stops
        found['stops'] = tuple(stop for stop in stops if stop)
    found.setdefault('do_sample', bool(found.get('temperature')))
    if not found['do_sample']:
        for key in SAMPLING:
            found.pop(key, None)
    SamplingParams.from_dict(found)
    return found


def place_images(text: str, number: int) -> str | list[Piece]:
    """Put images where the text marks them, or else in front of it.

    Args:
        text: A task's; with as many ``<image>`` as there are images, they
            stand there. With any other number the marks are literal text.
        number: Of images.
    """
    parts = text.split(MARK)
    if number == 0 or len(parts) != number + 1:
        return text
    pieces: list[Piece] = []
    for part in parts[:-1]:
        pieces += [part + IMAGE_OPEN, ImageSlot(), IMAGE_CLOSE]
    return [*pieces, parts[-1]]


def flatten(visuals: Any) -> list:
    """A task's visuals as one list: it may nest them, or have none."""
    if visuals is None:
        return []
    if not isinstance(visuals, (list, tuple)):
        return [visuals]
    return [image for each in visuals for image in flatten(each)]


def batches(keys: Iterable[Any], size: int) -> Sequence[list[int]]:
    """Cut indices into batches whose members have the same key.

    Args:
        keys: One for each request; what has the same key may be answered at
            once.
        size: At most this many in a batch.
    """
    groups: dict[Any, list[int]] = {}
    for i, key in enumerate(keys):
        groups.setdefault(key, []).append(i)
    return [
        members[start:start + size] for members in groups.values()
        for start in range(0, len(members), size)
    ]


def whole_number(value: Any, what: str) -> int:
    """A number that a command line may give as text.

    Raises:
        ConfigError: If it is none, or below 1.
    """
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = 0
    if number < 1:
        raise ConfigError(f'{what}={value}: give a whole number of 1 or '
                          'more.')
    return number
