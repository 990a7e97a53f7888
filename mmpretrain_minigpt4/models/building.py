# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""What :class:`~.minigpt4.MiniGPT4` checks and builds from its config."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence

import torch

from ..checkpoints import download
from ..errors import ConfigError
from ..features.index import FeatureIndex
from ..features.loading import open_features
from ..llm import lora as lora_
from ..llm.dtypes import compute_dtype
from ..registry import MODELS

PARTS = ('backbone', 'neck', 'projector', 'head')


def check_settings(freeze: Sequence[str], from_scratch: Sequence[str],
                   head: Mapping | torch.nn.Module | None, lora: dict | None,
                   dtype: str) -> None:
    """Check what needs nothing built, before anything large is.

    Args:
        freeze: As of the model, as those after it.
        from_scratch: See there.
        head: See there.
        lora: See there.
        dtype: See there.

    Raises:
        ConfigError: If a setting has no meaning.
        MissingWeightsError: If the language model's folder is not there.
    """
    for argument, names in (('freeze', freeze),
                            ('from_scratch', from_scratch)):
        for name in [names] if isinstance(names, str) else names:
            if name not in PARTS:
                raise ConfigError(
                    f'{argument} is a list of parts ({", ".join(PARTS)}); '
                    f'{name!r} is not one.')
    compute_dtype(dtype, torch.device(
        'cuda' if torch.cuda.is_available() else 'cpu'))
    if isinstance(head, Mapping):
        kind = MODELS.get(head['type'])
        if hasattr(kind, 'check'):
            kind.check(**head)
    if lora is not None:
        if head is None or 'head' not in freeze:
            raise ConfigError('model.lora is for a frozen language '
                              "model: leave 'head' in freeze.")
        lora_.check_lora(lora)


def list_checkpoints(checkpoints: Sequence[str] | None) -> list[str]:
    """The names of files to load; none where a model is built on ``meta``."""
    if _on_meta():
        return []
    return [str(name) for name in checkpoints or ()]


def open_inputs(features: str | None, backbone: dict | None,
                neck: dict | None, data_preprocessor: dict | None,
                freeze: Sequence[str], from_scratch: Sequence[str],
                checkpoints: Sequence[str]
                ) -> tuple[FeatureIndex | None, dict | None, dict | None,
                           dict | None]:
    """The parts that pixels, or cached features, come through.

    Args:
        features: As of the model, as those after it.
        backbone: See there.
        neck: See there.
        data_preprocessor: See there.
        freeze: See there.
        from_scratch: See there.
        checkpoints: As of :func:`list_checkpoints`.

    Returns:
        tuple: The index of the feature cache, backbone, neck and data
        preprocessor; with a cache there is no backbone and no neck.

    Raises:
        MissingWeightsError: If a file is neither there nor to be had.
        FeatureCacheError: If the cache is not of these settings.
    """
    if isinstance(data_preprocessor, Mapping):
        data_preprocessor = {
            'type': 'mmpretrain.MultiModalDataPreprocessor',
            **data_preprocessor
        }
    if features is None:
        for name in checkpoints:
            download.check(name)
        return None, backbone, neck, data_preprocessor
    index = open_features(
        features, backbone, neck, data_preprocessor, freeze, from_scratch,
        bool(checkpoints) or _on_meta())
    return index, None, None, dict(
        type='mmpretrain_minigpt4.FeaturePreprocessor')


def build_part(cfg: Mapping | torch.nn.Module | None, empty: bool = False
               ) -> torch.nn.Module | None:
    """Build a part; a module, or None, is handed on.

    Args:
        cfg: Its config.
        empty: Whether to leave its weights without memory, to be loaded.
    """
    if not isinstance(cfg, Mapping):
        return cfg
    with torch.device('meta') if empty else contextlib.nullcontext():
        return MODELS.build(dict(cfg))


def build_head(cfg: Mapping | torch.nn.Module | None,
               projector: torch.nn.Module | None) -> torch.nn.Module | None:
    """Build the head, which compares its width with the projector's.

    Args:
        cfg: Its config.
        projector: Gives ``out_channels``.
    """
    if isinstance(cfg, Mapping) and hasattr(projector, 'out_channels'):
        cfg = {'in_channels': projector.out_channels, **cfg}
    return build_part(cfg)


def _on_meta() -> bool:
    return torch.get_default_device().type == 'meta'
