# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The jobs that are timed: ours by the ordinary doors, and the peer's.

Our side calls ``MiniGPT4.forward`` and ``head.generate`` and nothing below,
so that whatever is made faster there shows here. Each function gives the job
of our model and the same job of P1.

Legend: B rows, T tokens of a prompt, Q visual tokens, E width of the LLM.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch

from mmpretrain_minigpt4.errors import BenchmarkError

from .bench import Pair
from .dims import Dims
from .inputs import make_images, make_samples, peer_inputs

Job = Callable[[], object]
VARIANTS = 5


def encode(pair: Pair, dims: Dims, rows: int) -> tuple[Job, Job]:
    """From pixels to visual tokens."""

    @torch.no_grad()
    def ours(images):
        return pair.ours(images, mode='tensor')

    @torch.no_grad()
    def peer(images):
        return pair.peer.get_image_features(images).pooler_output

    images = _variants(pair, dims, rows)
    return _by_turns(ours, images), _by_turns(peer, images)


def decode(pair: Pair, dims: Dims, rows: int, tokens: int, new: int,
           **options) -> tuple[Job, Job]:
    """From visual tokens to ``new`` tokens, both from the same embeddings.

    Args:
        pair: The models.
        dims: Their size.
        rows: Captions at once.
        tokens: Of each prompt, image with it.
        new: Tokens to write; never fewer.
        options: Decoding options, of both sides.
    """
    theirs = dict(options)
    options.pop('cache_implementation', None)  # the peer's alone
    samples = make_samples(pair.ours, rows, tokens)
    inputs = peer_inputs(pair.ours, dims, samples)
    visuals, embeds = [], []
    with torch.no_grad():
        for images in _variants(pair, dims, rows):
            visuals.append(pair.ours(images, mode='tensor'))
            table = pair.peer.get_input_embeddings()
            embeds.append(table(inputs['input_ids']))  # float[B, T, E]
            slots = inputs['input_ids'] == dims.image_id
            # float[B, Q, E] -> float[B * Q, E], rows in order
            embeds[-1][slots] = visuals[-1].flatten(0, 1).to(embeds[-1])

    def ours(visual):
        answers = pair.ours.head.answerer.generate(
            visual, samples, max_new_tokens=new, **options)
        check_lengths([len(x.token_ids) for x in answers], new)

    def peer(embed):
        found = pair.peer.language_model.generate(
            inputs_embeds=embed,
            attention_mask=inputs['attention_mask'],
            max_new_tokens=new,
            **theirs)
        check_lengths([found.shape[1]], new)

    return _by_turns(ours, visuals), _by_turns(peer, embeds)


def caption(pair: Pair, dims: Dims, rows: int, tokens: int, new: int,
            **options) -> tuple[Job, Job]:
    """From pixels to ``new`` tokens; arguments as of :func:`decode`."""
    samples = make_samples(pair.ours, rows, tokens)
    inputs = peer_inputs(pair.ours, dims, samples)

    def ours(images):
        return pair.ours(
            images, samples, mode='predict', max_new_tokens=new, **options)

    def peer(images):
        found = pair.peer.generate(
            pixel_values=images, **inputs, max_new_tokens=new, **options)
        # BLIP-2 hands on its prompt's ids, and they come first.
        check_lengths([found.shape[1] - inputs['input_ids'].shape[1]], new)

    images = _variants(pair, dims, rows)
    return _by_turns(ours, images), _by_turns(peer, images)


def train(pair: Pair, dims: Dims, rows: int, tokens: int, answer: int,
          bare: bool = False) -> tuple[Job, Job, Job]:
    """A training step of the projection.

    The learning rate is zero: the work is the same, and the weights of both
    sides stay equal. The peer's projection computes in the peer's type,
    without autocast, which favours it.

    Args:
        pair: The models.
        dims: Their size.
        rows: Pairs of a step.
        tokens: Of each row, image and answer with it.
        answer: Of these, tokens that are trained on.
        bare: As in stage 1.

    Returns:
        tuple: Ours from pixels, ours from features kept of an earlier pass
        through the frozen vision parts, and the peer's from pixels.
    """
    model, peer = pair
    samples = make_samples(model, rows, tokens, answer, bare)
    inputs = peer_inputs(model, dims, samples, training=True)
    ours_optimizer = _optimizer(model.projector)
    peer_optimizer = _optimizer(peer.language_projection)
    images = _variants(pair, dims, rows)
    with torch.no_grad():  # float[B, Q, C] each
        kept = [model.neck(model.backbone(x.to(next(
            model.backbone.parameters()))))[-1] for x in images]

    def from_pixels(images):
        _step(ours_optimizer, model(images, samples, mode='loss')['loss'])

    def from_features(feats):
        _step(ours_optimizer,
              model.head.loss(model.projector(feats), samples)['loss'])

    def theirs(images):
        peer.language_projection.requires_grad_(True)
        _step(peer_optimizer, peer(pixel_values=images, **inputs).loss)

    return (_by_turns(from_pixels, images), _by_turns(from_features, kept),
            _by_turns(theirs, images))


def _variants(pair: Pair, dims: Dims, rows: int) -> list[torch.Tensor]:
    """Several batches of images, float[B, 3, H, W].

    What was computed for one call must not serve the next: keys and values
    kept of a prompt, say.
    """
    return [
        make_images(dims, rows, pair.ours.device, seed=i)
        for i in range(1, VARIANTS + 1)
    ]


def _by_turns(job: Callable, inputs: Sequence) -> Job:
    turns = itertools.cycle(inputs)
    return lambda: job(next(turns))


def check_lengths(lengths: Sequence[int], wanted: int) -> None:
    """Refuse to time answers of other lengths than those asked for.

    Raises:
        BenchmarkError: If one ended early or went on.
    """
    if set(lengths) != {wanted}:
        raise BenchmarkError(
            f'Answers of {wanted} tokens were asked for and some have '
            f'{sorted(set(lengths) - {wanted})}: something ended them.')


def _optimizer(part: torch.nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(part.parameters(), lr=0.0, weight_decay=0.05)


def _step(optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
