# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The index of a feature cache: what its features were computed from."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..checkpoints.digests import digest_of, state_digests
from ..checkpoints.saving import sync
from ..errors import FeatureCacheError

NAME = 'index.json'
FORMAT = 1
# What a config may say of a part without changing what it computes once its
# weights are loaded.
WITHOUT_EFFECT = ('_scope_', 'init_cfg', 'dropout', 'non_blocking')


@dataclass
class FeatureIndex:
    """What a cache holds, and of what it was made.

    Attributes:
        vision: The settings of ``backbone`` and ``neck``.
        weights: The digest of each of their tensors, by name.
        weight_files: The names, as of ``model.checkpoints``, of files that
            hold nothing else.
        preprocessing: The ``steps`` of the pipeline that touch the image,
            and the ``data_preprocessor``.
        dtype: In which type the features are stored.
        computed_in: In which type they were computed; for information.
        shape: Visual tokens of an image and their width.
        shards: ``name`` and number of ``images`` of each shard.
        broken: Images that cannot be read: by key, ``where`` they are and
            the ``reason``.
        versions: What wrote it; for information.
    """
    vision: dict[str, Any]
    weights: dict[str, str]
    preprocessing: dict[str, Any]
    dtype: str
    weight_files: list[str] = field(default_factory=list)
    computed_in: str = 'float32'
    shape: list[int] = field(default_factory=list)
    shards: list[dict[str, Any]] = field(default_factory=list)
    broken: dict[str, dict[str, str]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: str | os.PathLike) -> FeatureIndex:
        """Read a cache's index.

        Raises:
            FeatureCacheError: If there is none, or it is not readable.
        """
        path = Path(folder) / NAME
        try:
            content = json.loads(path.read_text(encoding='utf-8'))
            if content.pop('format') != FORMAT:
                raise ValueError('it is of another version')
            content.pop('digests')
            return cls(**content)
        except FileNotFoundError:
            raise FeatureCacheError(
                f'{str(folder)!r} holds no {NAME}, so there are no features. '
                f'Write them by `minigpt4 cache-features CONFIG --out '
                f'{folder}`.') from None
        except (OSError, ValueError, TypeError, KeyError,
                AttributeError) as error:
            raise FeatureCacheError(
                f'{str(path)!r} is not the index of a feature cache '
                f'({error}). Delete the folder and write it again by '
                '`minigpt4 cache-features`.') from error

    def write(self, folder: str | os.PathLike) -> None:
        """Put the index in place at once.

        Raises:
            OSError: If it cannot be written; an old one is untouched.
        """
        path = Path(folder) / NAME
        content = dict(
            format=FORMAT,
            digests=dict(
                weights=digest_of(self.weights),
                preprocessing=digest_of(
                    {'': json.dumps(self.preprocessing, sort_keys=True)}),
                dtype=self.dtype),
            **asdict(self))
        temporary = path.with_name(f'.{NAME}.{os.getpid()}.tmp')
        try:
            temporary.write_text(
                json.dumps(content, indent=1) + '\n', encoding='utf-8')
            sync(temporary)
            os.replace(temporary, path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise

    def check_vision(self, vision: Mapping[str, Any]) -> None:
        """Compare the settings of the parts.

        Args:
            vision: ``backbone`` and ``neck``, as :func:`plain` gives them.

        Raises:
            FeatureCacheError: If they differ.
        """
        _refuse(differences(self.vision, vision, 'model'), 'The vision part',
                'Take the config that the features were written with')

    def check_preprocessing(self, preprocessing: Mapping[str, Any]) -> None:
        """Compare the preprocessing, or the parts of it that are given.

        Args:
            preprocessing: ``steps``, ``data_preprocessor`` or both.

        Raises:
            FeatureCacheError: If they differ.
        """
        mine = {key: self.preprocessing.get(key) for key in preprocessing}
        _refuse(differences(mine, preprocessing), 'The preprocessing',
                'Take the config that the features were written with')

    def check_weights(self, tensors: Mapping[str, Any],
                      complete: bool = True) -> None:
        """Compare the vision part's weights.

        Args:
            tensors: Native names to tensors of the backbone and the neck.
            complete: Whether these must be all.

        Raises:
            FeatureCacheError: If they differ.
        """
        found = state_digests(tensors)
        odd = [
            key for key, digest in found.items()
            if self.weights.get(key) != digest
        ]
        if complete:
            odd += sorted(self.weights.keys() - found.keys())
        _refuse(
            [f'{key} differs' for key in odd], 'The weights of the vision '
            'part', 'Name the same files in model.checkpoints')

    def same_as(self, other: FeatureIndex) -> list[str]:
        """How another index differs in what features are made of."""
        found = differences(self.vision, other.vision, 'model')
        found += differences(self.preprocessing, other.preprocessing)
        found += [
            f'{key} differs'
            for key in sorted(self.weights.keys() | other.weights.keys())
            if self.weights.get(key) != other.weights.get(key)
        ]
        return found + differences(
            dict(dtype=self.dtype), dict(dtype=other.dtype))


def plain(settings: Any) -> Any:
    """A config in plain types, without what has no effect on features."""
    if isinstance(settings, Mapping):
        return {
            str(key): _short(value) if key == 'type' else plain(value)
            for key, value in settings.items() if key not in WITHOUT_EFFECT
        }
    if isinstance(settings, (list, tuple)):
        return [plain(value) for value in settings]
    if settings is None or isinstance(settings, (bool, int, float, str)):
        return settings
    return repr(settings)


def differences(cached: Any, wanted: Any, where: str = '') -> list[str]:
    """Where two plain values differ, in words."""
    if isinstance(cached, Mapping) and isinstance(wanted, Mapping):
        return [
            line for key in dict.fromkeys([*cached, *wanted])
            for line in differences(
                cached.get(key), wanted.get(key),
                f'{where}.{key}' if where else key)
        ]
    if cached == wanted:
        return []
    return [f'{where} is {_brief(cached)} in the cache and {_brief(wanted)} '
            'in the config']


def _refuse(found: Sequence[str], what: str, fix: str) -> None:
    if not found:
        return
    more = f', and {len(found) - 3} more' if len(found) > 3 else ''
    raise FeatureCacheError(
        f'{what} is not what the cached features were computed with: '
        f'{"; ".join(found[:3])}{more}. {fix}, or write new features by '
        '`minigpt4 cache-features CONFIG --out` another folder.')


def _short(kind: Any) -> str:
    name = kind if isinstance(kind, str) else getattr(kind, '__name__', kind)
    return str(name).rsplit('.', 1)[-1]


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f'{text[:200]}...'
