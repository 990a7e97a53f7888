# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""From a name to the inferencer of its task."""

from typing import Any

from .. import zoo
from ..errors import ConfigError
from .caption import CaptionInferencer
from .vqa import VQAInferencer

INFERENCERS = {
    inferencer.task_name: inferencer
    for inferencer in (CaptionInferencer, VQAInferencer)
}


def open_model(name: str, device: str | None = None,
               **kwargs: Any) -> CaptionInferencer | VQAInferencer:
    """Open a model of the zoo, ready to answer.

    Args:
        name: A name that :func:`list_entries` knows, in any case.
        device: Where to run; None takes a GPU if there is one.
        **kwargs: As of the inferencers, ``llm``, ``weights``, ``dtype``
            and ``quantization`` among them.

    Raises:
        ConfigError: If there is no such model; the message names near ones.
        MissingWeightsError: If weights are not there.
    """
    found = {entry.name: entry for entry in zoo.entries()}
    entry = found.get(name.lower())
    if entry is None:
        from difflib import get_close_matches
        near = get_close_matches(name.lower(), found) or found
        raise ConfigError(
            f'There is no model "{name}". Near ones: {", ".join(near)}.')
    if device is None:
        import torch
        device = 'cuda' if torch.cuda.is_available() else None
    return INFERENCERS[entry.task](entry.name, device=device, **kwargs)
