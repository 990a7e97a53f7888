# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Pretrain the tiny twin's ViT, and on it the Q-Former as BLIP-2 does.

The ViT (the real one comes pretrained as well) learns with a throw-away
decoder that reads every fact of the scene from its tokens, and is frozen.
The Q-Former learns on its tokens in two steps: with a throw-away decoder
that reads the facts from the queries, then with a throw-away projection
through the frozen base language model, so that what the queries say can be
understood by one.

Letters: B images, N image tokens, D their width, Q queries, C their width.
"""

import math
import random
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import LlamaForCausalLM

from mmpretrain_minigpt4.datasets.shapes import (
    BACKGROUNDS,
    COLORS,
    PLACES,
    SHAPES,
    SIZES,
    draw_scene,
)
from mmpretrain_minigpt4.datasets.shapes.scene import sample_facts
from mmpretrain_minigpt4.models.backbones.eva_vit import EVAViT
from mmpretrain_minigpt4.models.necks.q_former import QFormer

from .documents import begin, continue_base
from .language import collate, cosine, next_token_loss
from .pictures import normalize

IMG_SIZE = 64
# Of the image tokens' dimensions, those that tell where a token is.
POSITION_DIMS = 40
BACKBONE = dict(
    img_size=IMG_SIZE,
    patch_size=8,
    embed_dims=160,
    num_layers=5,
    num_heads=5,
    feedforward_channels=480)
NECK = dict(
    num_queries=16,
    embed_dims=128,
    num_layers=4,
    num_heads=4,
    feedforward_channels=384,
    encoder_dims=160)


def sin_cos_positions(side: int, width: int) -> Tensor:
    """Sines and cosines of a grid's rows and columns, [side * side, D]."""
    octaves = width // 4
    rates = math.pi * 2 ** torch.linspace(-1, 2, octaves)
    angles = torch.linspace(-1, 1, side)[:, None] * rates  # [side, D / 4]
    waves = torch.cat((angles.sin(), angles.cos()), 1)  # [side, D / 2]
    rows = waves[:, None].expand(-1, side, -1)
    columns = waves[None].expand(side, -1, -1)
    return torch.cat((rows, columns), 2).flatten(0, 1)


class VisionPart(nn.Module):
    """ViT and Q-Former, under the names they have in the whole model."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = EVAViT(**BACKBONE)
        self.neck = QFormer(**NECK)


def new_vision_part() -> VisionPart:
    """A vision part with random weights, louder than the usual ones.

    Positions stand out and attention differs from query to query from the
    start, so that so small a model learns soon where to look.
    """
    part = VisionPart()
    for weight in part.neck.parameters():
        if weight.dim() == 2:
            nn.init.xavier_uniform_(weight)
    with torch.no_grad():
        part.backbone.pos_embed[:, 1:, :POSITION_DIMS] += sin_cos_positions(
            BACKBONE['img_size'] // BACKBONE['patch_size'], POSITION_DIMS)
    return part


class FactHeads(nn.Module):
    """Scores of color, shape and size of each place, and of the background.

    Args:
        width: Of what is known about each place.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        # One more colour stands for "nothing is here".
        self.color = nn.Linear(width, len(COLORS) + 1)
        self.shape = nn.Linear(width, len(SHAPES))
        self.size = nn.Linear(width, len(SIZES))
        self.ground = nn.Linear(width, len(BACKGROUNDS))

    def forward(self, here: Tensor, whole: Tensor) -> tuple[Tensor, ...]:
        """Read float[B, places, C] and float[B, C]."""
        return (self.color(here), self.shape(here), self.size(here),
                self.ground(whole))


class QuarterReader(nn.Module):
    """Throw-away decoder of the ViT: reads a place from its own quarter."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU())
        self.heads = FactHeads(2 * width)

    def forward(self, tokens: Tensor) -> tuple[Tensor, ...]:
        """float[B, N, D], CLS first, to the scores of :class:`FactHeads`."""
        side = math.isqrt(tokens.shape[1] - 1)
        # [B, N - 1, D] -> [B, D, side, side] -> quarters [B, D, 2, 2]
        grid = tokens[:, 1:].transpose(1, 2).unflatten(2, (side, side))
        quarters = F.avg_pool2d(grid, side // 2)
        x = self.mlp(quarters.flatten(2).transpose(1, 2))  # [B, places, 2D]
        return self.heads(x, x.mean(1))


class PlaceReader(nn.Module):
    """Throw-away decoder of the Q-Former: looks at the queries.

    Each place has a learnt question, as has the background.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.questions = nn.Parameter(torch.randn(len(PLACES) + 1, width))
        self.look = nn.MultiheadAttention(width, 4, batch_first=True)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(),
            nn.Linear(4 * width, width))
        self.heads = FactHeads(width)

    def forward(self, queries: Tensor) -> tuple[Tensor, ...]:
        """float[B, Q, C] to scores of color, shape, size, background."""
        asked = self.questions.expand(len(queries), -1, -1)
        x = self.look(asked, queries, queries, need_weights=False)[0]
        x = x + self.mlp(x)
        return self.heads(x[:, :-1], x[:, -1])


def facts_as_labels(seed: int) -> list[int]:
    """Color, shape and size of each place (-100 where none), background."""
    objects, ground = sample_facts(seed)
    at = {o.place: o for o in objects}
    found = [at.get(place) for place in PLACES]
    colors, shapes, sizes = list(COLORS), list(SHAPES), list(SIZES)
    return ([colors.index(o.color) if o else len(colors) for o in found] +
            [shapes.index(o.shape) if o else -100 for o in found] +
            [sizes.index(o.size) if o else -100 for o in found] +
            [list(BACKGROUNDS).index(ground)])


def reading_loss(scores: tuple[Tensor, ...],
                 labels: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of cross entropies, and the share of places read right."""
    color, shape, size, ground = scores
    wanted = labels[:, :12].view(-1, 3, 4)  # [B, 12] -> [B, 3, places]
    loss = F.cross_entropy(ground, labels[:, 12])
    right = torch.ones_like(wanted[:, 0], dtype=torch.bool)
    for index, guess in enumerate((color, shape, size)):
        target = wanted[:, index]
        loss = loss + F.cross_entropy(guess.flatten(0, 1), target.flatten())
        right &= (guess.argmax(-1) == target) | (target < 0)
    return loss, right.float().mean()


class _Run:
    """One pretraining run: batches in random order, schedule, progress."""

    def __init__(self, groups: list[tuple[nn.Module, float]], steps: int,
                 batch_size: int, count: int, seed: int,
                 log: Callable[[str], None]) -> None:
        self.steps, self.batch_size, self.log = steps, batch_size, log
        self.rng = np.random.default_rng(seed)
        self.count, self.order = count, np.empty(0, int)
        self.peaks = [lr for _, lr in groups]
        self.optimizer = torch.optim.AdamW(
            [dict(params=module.parameters()) for module, _ in groups],
            betas=(0.9, 0.98),
            weight_decay=0.05)
        self.parameters = [p for m, _ in groups for p in m.parameters()]
        self.started, self.window = time.time(), []

    def batch(self) -> np.ndarray:
        """The next seeds; every scene once before any comes again."""
        if len(self.order) < self.batch_size:
            self.order = self.rng.permutation(self.count)
        self.order, taken = np.split(self.order, [-self.batch_size])
        return taken

    def step(self, number: int, loss: Tensor, *right: float) -> None:
        """Update the weights and tell how it goes."""
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        for group, peak in zip(
                self.optimizer.param_groups, self.peaks, strict=True):
            group['lr'] = cosine(number, self.steps, peak)
        self.optimizer.step()
        self.window.append((loss.item(), *right))
        if (number + 1) % 50 == 0:
            mean = np.mean(self.window, axis=0)
            shares = ' '.join(f'{share:.4f}' for share in mean[1:])
            self.log(f'step {number + 1}/{self.steps} loss {mean[0]:.4f} '
                     f'right {shares} '
                     f'{time.time() - self.started:.0f} s')
            self.window.clear()


def position_loss(tokens: Tensor) -> Tensor:
    """How far the tokens are from telling loudly where they are.

    The tokens' first dimensions are to hold sines and cosines of their row
    and column. Without it a token says faintly where it is, and a Q-Former
    of this size takes very long to look at the right ones.
    """
    side = math.isqrt(tokens.shape[1] - 1)
    code = sin_cos_positions(side, POSITION_DIMS)
    return F.mse_loss(tokens[:, 1:, :POSITION_DIMS].float(),
                      code.expand(len(tokens), -1, -1))


def pretrain_vit(pictures: np.ndarray,
                 *,
                 steps: int,
                 batch_size: int = 64,
                 peak_lr: float = 1.5e-3,
                 log: Callable[[str], None] = print) -> EVAViT:
    """Train the ViT with its own throw-away decoder; picture i is scene i."""
    torch.manual_seed(2)
    vit = new_vision_part().backbone.train()
    reader = QuarterReader(BACKBONE['embed_dims'])
    run = _Run([(vit, peak_lr), (reader, peak_lr)], steps, batch_size,
               len(pictures), 2, log)
    for number in range(steps):
        seeds = np.sort(run.batch())
        labels = torch.tensor([facts_as_labels(int(s)) for s in seeds])
        with torch.autocast('cpu', torch.bfloat16):
            tokens = vit(normalize(pictures[seeds]))[-1]
            loss, right = reading_loss(reader(tokens), labels)
        far = position_loss(tokens)
        run.step(number, loss + 4 * far, right.item(), far.item())
    return vit.eval()


@torch.no_grad()
def image_tokens(vit: EVAViT, pictures: np.ndarray) -> Tensor:
    """What the frozen ViT sees in every picture, bfloat16[count, N, D]."""
    found = []
    for start in range(0, len(pictures), 256):
        with torch.autocast('cpu', torch.bfloat16):
            found.append(vit(normalize(pictures[start:start + 256]))[-1].to(
                torch.bfloat16))
    return torch.cat(found)


def pretrain_with_reader(neck: QFormer,
                         tokens: Tensor,
                         *,
                         steps: int,
                         batch_size: int = 64,
                         peak_lr: float = 1e-3,
                         log: Callable[[str], None] = print) -> None:
    """First step of the Q-Former: a throw-away decoder reads the queries."""
    torch.manual_seed(3)
    # Without dropout: this world is not one that can be learnt by heart.
    neck.eval()
    reader = PlaceReader(NECK['embed_dims'])
    run = _Run([(neck, peak_lr), (reader, peak_lr)], steps, batch_size,
               len(tokens), 3, log)
    for number in range(steps):
        seeds = run.batch()
        labels = torch.tensor([facts_as_labels(int(s)) for s in seeds])
        with torch.autocast('cpu', torch.bfloat16):
            queries = neck((tokens[seeds].float(), ))[-1]
            loss, right = reading_loss(reader(queries), labels)
        run.step(number, loss, right.item())


def pretrain_through_language(neck: QFormer,
                              tokens: Tensor,
                              base: Path,
                              encode: Callable[[str], list[int]],
                              *,
                              steps: int,
                              batch_size: int = 48,
                              peak_lr: float = 6e-4,
                              log: Callable[[str], None] = print) -> nn.Linear:
    """Second step of the Q-Former: through the frozen base model.

    Returns:
        The projection that was learnt beside it: to be thrown away.
    """
    torch.manual_seed(4)
    llm = LlamaForCausalLM.from_pretrained(base, dtype=torch.float32)
    llm.set_attn_implementation('eager')  # quicker than SDPA here, in bf16
    llm.requires_grad_(False).eval()
    embed = llm.get_input_embeddings()
    projection = nn.Linear(NECK['embed_dims'], llm.config.hidden_size)
    blank = [[] for _ in range(NECK['num_queries'])]
    run = _Run([(neck.eval(), peak_lr), (projection, 2e-3)], steps,
               batch_size, len(tokens), 4, log)
    for number in range(steps):
        seeds = run.batch()
        documents = []
        for seed in seeds:
            rng = random.Random(f'vision {seed} {number}')
            document = begin()
            document.add_notes(blank)
            documents.append(
                continue_base(
                    document, draw_scene(int(seed)), rng, encode, lines=3))
        with torch.autocast('cpu', torch.bfloat16):
            embeds, labels = collate(documents, embed)
            visual = projection(neck((tokens[seeds].float(), ))[-1])
            # BOS, visual tokens, text
            embeds = torch.cat((embeds[:, :1], visual.to(embeds),
                                embeds[:, 1 + len(blank):]), 1)
            loss = next_token_loss(llm, embeds, labels)
        run.step(number, loss)
    return projection
