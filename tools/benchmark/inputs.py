# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The same images, prompts and answers for both models.

Legend: B rows, T tokens of the longest row, H and W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .dims import Dims

IGNORED = -100
WORDS = ('the image shows a large red circle and a small blue square near '
         'the top left of a green background').split()


def make_images(dims: Dims, rows: int, device: torch.device, seed: int = 1
                ) -> torch.Tensor:
    """Random pixels, already normalised: float[B, 3, H, W]."""
    maker = torch.Generator(device).manual_seed(seed)
    return torch.randn(
        rows, 3, dims.img_size, dims.img_size, generator=maker,
        device=device)


def make_text(words: int, offset: int = 0) -> str:
    """A text of so many words; another one for each offset."""
    return ' '.join(WORDS[(offset + i) % len(WORDS)] for i in range(words))


def make_samples(model: torch.nn.Module, rows: int, tokens: int,
                 answer: int = 0, bare: bool = False) -> list:
    """Data samples whose rows have ``tokens`` tokens, or a few less.

    Args:
        model: Ours; its tokenizer counts.
        rows: How many samples, each with one image.
        tokens: Of each row, image and answer with it.
        answer: Of these, tokens that are trained on; 0 for no target.
        bare: Image and caption alone, as in stage 1.
    """
    from mmpretrain.structures import DataSample
    samples = []
    for i in range(rows):
        fields = dict(prompt=None, gt_caption=None)
        if answer:
            room = answer
            if bare:
                room = tokens - len(_ids(model, DataSample(bare=True)))
            fields['gt_caption'] = _fit(
                lambda words, i=i: len(
                    model.head.tokenizer.encode(make_text(words, i))),
                room - 1, i)
        if bare:
            fields = dict(bare=True, gt_caption=fields['gt_caption'])
        else:
            fields['prompt'] = _fit(
                lambda words, i=i: len(
                    _ids(model, DataSample(prompt=make_text(words, i)))),
                tokens - answer, i)
        samples.append(
            DataSample(**{k: v
                          for k, v in fields.items() if v is not None}))
    return samples


def peer_inputs(model: torch.nn.Module, dims: Dims, samples: Sequence,
                training: bool = False) -> dict[str, torch.Tensor]:
    """What our model makes of samples with one image, as the peer reads it.

    Args:
        model: Ours.
        dims: Its size.
        samples: Data samples.
        training: Whether the rows hold their answers.

    Returns:
        dict: input_ids and attention_mask, int[B, T], left-padded, and
        labels where rows hold answers.
    """
    rows = []
    for sample in samples:
        image = _image(model)
        if training:
            row = model.head.prompt_encoder.training_row(sample, image)
            rows.append((row.ids, row.labels))
        else:
            ids, _ = model.head.prompt_encoder.prompt_ids(sample, image)
            rows.append((ids, [IGNORED] * len(ids)))
    longest = max(len(ids) for ids, _ in rows)
    device = model.device
    found = dict(
        input_ids=torch.zeros(len(rows), longest, dtype=torch.long),
        attention_mask=torch.zeros(len(rows), longest, dtype=torch.long),
        labels=torch.full((len(rows), longest), IGNORED))
    for i, (ids, labels) in enumerate(rows):
        start = longest - len(ids)
        # Our rows have -1 for each visual token.
        found['input_ids'][i, start:] = torch.tensor(
            [dims.image_id if x < 0 else x for x in ids])
        found['attention_mask'][i, start:] = 1
        found['labels'][i, start:] = torch.tensor(labels)
    if not training:
        del found['labels']
    return {key: value.to(device) for key, value in found.items()}


def _image(model: torch.nn.Module) -> torch.Tensor:
    # Only its shape is read: float[1, Q, 0].
    return torch.empty(1, model.neck.query_tokens.shape[1], 0)


def _ids(model: torch.nn.Module, sample) -> list[int]:
    return model.head.prompt_encoder.prompt_ids(sample, _image(model))[0]


def _fit(length, wanted: int, offset: int) -> str:
    """The longest text that is not longer than wanted, one word at least."""
    words = 1
    while length(words + 1) <= wanted:
        words += 1
    return make_text(words, offset)
