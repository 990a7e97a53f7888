# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""From a name to the inferencer of its task."""

from typing import Any

from .. import zoo
from ..errors import ConfigError
from .caption import CaptionInferencer
from .vqa import VQAInferencer

# By the toolbox's word for the task, and by the head's.
INFERENCERS = {
    name: inferencer
    for inferencer in (CaptionInferencer, VQAInferencer)
    for name in (inferencer.task_name, inferencer.task)
}


def open_model(name: str, device: str | None = None,
               **kwargs: Any) -> CaptionInferencer | VQAInferencer:
    """Open a model of the zoo, ready to answer.

    Args:
        name: A name that :func:`list_entries` knows, in any case, or the
            path of a config file.
        device: Where to run; None takes a GPU if there is one.
        **kwargs: As of the inferencers, ``llm``, ``weights``, ``dtype``
            and ``quantization`` among them.

    Raises:
        ConfigError: If there is no such model, the message naming near ones;
            or the config cannot be read or is of no task.
        MissingWeightsError: If weights are not there.
    """
    if name.endswith('.py'):
        opened: Any = zoo.read_config(name)
        task = ((opened.get('model') or {}).get('head') or {}).get(
            'task', 'caption')
    else:
        opened = zoo.find_entry(name).name
        task = zoo.find_entry(name).task
    if device is None:
        import torch
        device = 'cuda' if torch.cuda.is_available() else None
    if task not in INFERENCERS:
        raise ConfigError(f'{name}: model.head.task is {task!r}; an '
                          'inferencer is for caption or vqa.')
    return INFERENCERS[task](opened, device=device, **kwargs)
