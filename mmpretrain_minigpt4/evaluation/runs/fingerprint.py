# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""What the answers of an evaluation depend on."""

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ...llm.dtypes import compute_dtype

# Where files lie, and how answers are judged, changes no answer.
PLACES = ('data_root', 'ann_file', 'data_prefix', 'img_path')


def digest(value: Any) -> str:
    """A short digest of plain data."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@torch.no_grad()
def fingerprint(model: nn.Module) -> str:
    """A digest of all weights: names, shapes, types and every number.

    All processes of a sharded model have to ask for it.
    """
    total = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        for tensor in _plain(value):
            shape = list(tensor.shape)
            total.update(f'{name} {shape} {tensor.dtype}'.encode())
            flat = tensor.detach().reshape(-1).contiguous().cpu()
            total.update(memoryview(flat.view(torch.uint8).numpy()))
    return total.hexdigest()[:16]


def _plain(value: Any) -> list[Tensor]:
    """The tensors inside of a quantised one; itself for any other."""
    if not isinstance(value, Tensor):
        return []
    if hasattr(value, 'full_tensor'):  # a share of a sharded one
        return [value.full_tensor()]
    if hasattr(value, '__tensor_flatten__'):
        names, _ = value.__tensor_flatten__()
        return [x for name in names for x in _plain(getattr(value, name))]
    return [value]


def data_digest(dataset: Any) -> str:
    """A digest of the questions and image names of a data set.

    The images themselves are not read.
    """
    from mmengine.dataset import BaseDataset
    total = hashlib.sha256(f'{type(dataset).__name__} {len(dataset)}'.encode())
    for part in getattr(dataset, 'datasets', [dataset]):
        if not isinstance(part, BaseDataset):
            continue
        for index in range(len(part)):
            # Not the data set's own way, which may draw or read the image.
            item = BaseDataset.get_data_info(part, index)
            total.update(digest(_without_places(item)).encode())
    return total.hexdigest()[:16]


def _without_places(item: Any) -> Any:
    if not isinstance(item, Mapping):
        return item
    kept = {k: v for k, v in item.items() if k not in PLACES and k != 'img'}
    if isinstance(item.get('img_path'), str):
        kept['image'] = os.path.basename(item['img_path'])
    return kept


def read_settings(model: nn.Module, dataset: Any, cfg: Mapping,
                  fp16: bool = False) -> dict[str, Any]:
    """All that the answers of a run depend on, as plain data.

    Args:
        model: The model, built and loaded.
        dataset: The questions.
        cfg: The run's config.
        fp16: Whether it runs under autocast.
    """
    head = getattr(model, 'head', None)
    reader = getattr(head, 'reader', None)
    settings: dict[str, Any] = {}
    if reader is not None:
        settings.update(
            task=reader.task,
            template=reader.template.name,
            prompt=reader.default,
            question_template=reader.question_template)
    if hasattr(head, 'generation'):
        settings['decoding'] = head.generation.to_dict()
    settings['weights'] = fingerprint(model)
    settings['model'] = digest(_model_settings(cfg.get('model')))
    loader = cfg.get('test_dataloader') or {}
    data = loader.get('dataset') if isinstance(loader, Mapping) else None
    pipeline = data.get('pipeline') if isinstance(data, Mapping) else None
    settings['data'] = dict(
        name=type(dataset).__name__,
        samples=len(dataset),
        digest=data_digest(dataset),
        pipeline=digest(pipeline))
    settings['precision'] = precision(model, head)
    settings['autocast'] = fp16
    # As it will be read back: lists for tuples.
    return json.loads(json.dumps(settings))


def precision(model: nn.Module, head: nn.Module | None
              ) -> dict[str, str] | None:
    """The types that the parts compute in, and the language model's bits."""
    first = next(model.parameters(), None)
    if first is None or not isinstance(getattr(head, 'dtype', None), str):
        return None
    found = {
        name: str(compute_dtype(part.dtype, first.device)).removeprefix(
            'torch.')
        for name, part in (('vision', model), ('language_model', head))
        if isinstance(getattr(part, 'dtype', None), str)
    }
    return dict(found, quantization=getattr(head, 'quantization', 'none'))


def _model_settings(model: Any) -> Any:
    """A model's config without where its weights lie: they have a digest."""
    if not isinstance(model, Mapping):
        return type(model).__name__
    model = {k: v for k, v in model.items()
             if k not in ('checkpoints', 'init_cfg', 'load_from')}
    if isinstance(model.get('head'), Mapping):
        model['head'] = {k: v for k, v in model['head'].items()
                         if k not in ('llm', 'tokenizer')}
    return model


def differences(ours: Mapping, theirs: Mapping) -> list[str]:
    """What is not the same in two settings, each with both values."""
    found = []
    for key in sorted({*ours, *theirs}):
        a, b = ours.get(key), theirs.get(key)
        if a == b:
            continue
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found += [f'{key}.{text}' for text in differences(a, b)]
        else:
            found.append(f'{key} (there {b!r}, now {a!r})')
    # It holds what the others say as well.
    others = [x for x in found if not x.startswith('model (')]
    return others or found
