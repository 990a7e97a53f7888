# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Pretrain the tiny twin's ViT and Q-Former, as BLIP-2 does: in two steps.

First with a throw-away decoder that must read every fact of the scene from
the queries; then with a throw-away projection through the frozen base
language model, so that what the queries say can be understood by one.

Letters: B images, Q queries, C width of the queries, E width of the LLM.
"""

import random
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import LlamaForCausalLM

from ..datasets.shapes import (BACKGROUNDS, COLORS, PLACES, SHAPES, SIZES,
                               draw_scene)
from ..datasets.shapes.scene import sample_facts
from ..models.backbones.eva_vit import EVAViT
from ..models.necks.q_former import QFormer
from .documents import begin, continue_base
from .language import collate, cosine, next_token_loss
from .pictures import normalize

IMG_SIZE = 64
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


class VisionPart(nn.Module):
    """ViT and Q-Former, under the names they have in the whole model."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = EVAViT(**BACKBONE)
        self.neck = QFormer(**NECK)

    def forward(self, images: Tensor) -> Tensor:
        """float[B, 3, H, W] to float[B, Q, C]."""
        return self.neck(self.backbone(images))[-1]


class PlaceReader(nn.Module):
    """The throw-away decoder: says what is at each place, from the queries.

    Each place has a learnt question that looks at the queries, as has the
    background.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.questions = nn.Parameter(torch.randn(len(PLACES) + 1, width))
        self.look = nn.MultiheadAttention(width, 4, batch_first=True)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(),
            nn.Linear(4 * width, width))
        # One more colour stands for "nothing is here".
        self.color = nn.Linear(width, len(COLORS) + 1)
        self.shape = nn.Linear(width, len(SHAPES))
        self.size = nn.Linear(width, len(SIZES))
        self.ground = nn.Linear(width, len(BACKGROUNDS))

    def forward(self, queries: Tensor) -> tuple[Tensor, ...]:
        """float[B, Q, C] to scores of color, shape, size, background."""
        asked = self.questions.expand(len(queries), -1, -1)
        x = self.look(asked, queries, queries, need_weights=False)[0]
        x = x + self.mlp(x)
        here = x[:, :-1]  # [B, places, C]
        return (self.color(here), self.shape(here), self.size(here),
                self.ground(x[:, -1]))


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

    def step(self, number: int, loss: Tensor, note: float = 0.) -> None:
        """Update the weights and tell how it goes."""
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        for group, peak in zip(
                self.optimizer.param_groups, self.peaks, strict=True):
            group['lr'] = cosine(number, self.steps, peak)
        self.optimizer.step()
        self.window.append((loss.item(), note))
        if (number + 1) % 50 == 0:
            mean = np.mean(self.window, axis=0)
            self.log(f'step {number + 1}/{self.steps} loss {mean[0]:.4f} '
                     f'right {mean[1]:.4f} '
                     f'{time.time() - self.started:.0f} s')
            self.window.clear()


def pretrain_with_reader(pictures: np.ndarray,
                         *,
                         steps: int,
                         batch_size: int = 64,
                         peak_lr: float = 1.5e-3,
                         log: Callable[[str], None] = print) -> VisionPart:
    """First step: the throw-away decoder reads all facts of scene i."""
    torch.manual_seed(2)
    vision, reader = VisionPart().train(), PlaceReader(NECK['embed_dims'])
    run = _Run([(vision, peak_lr), (reader, peak_lr)], steps, batch_size,
               len(pictures), 2, log)
    for number in range(steps):
        seeds = run.batch()
        labels = torch.tensor([facts_as_labels(int(s)) for s in seeds])
        with torch.autocast('cpu', torch.bfloat16):
            queries = vision(normalize(pictures[np.sort(seeds)]))
            loss, right = reading_loss(
                reader(queries), labels[np.argsort(seeds)])
        run.step(number, loss, right.item())
    return vision


def pretrain_through_language(vision: VisionPart,
                              pictures: np.ndarray,
                              base: Path,
                              encode: Callable[[str], list[int]],
                              *,
                              steps: int,
                              batch_size: int = 48,
                              peak_lr: float = 6e-4,
                              log: Callable[[str], None] = print) -> nn.Linear:
    """Second step: through the frozen base model, trains ``vision`` too.

    Returns:
        The projection that was learnt beside it: to be thrown away.
    """
    torch.manual_seed(3)
    llm = LlamaForCausalLM.from_pretrained(base, dtype=torch.float32)
    llm.set_attn_implementation('eager')  # quicker than SDPA here, in bf16
    llm.requires_grad_(False).eval()
    embed = llm.get_input_embeddings()
    projection = nn.Linear(NECK['embed_dims'], llm.config.hidden_size)
    blank = [[] for _ in range(NECK['num_queries'])]
    run = _Run([(vision.train(), peak_lr), (projection, 2e-3)], steps,
               batch_size, len(pictures), 3, log)
    for number in range(steps):
        seeds = np.sort(run.batch())
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
            tokens = projection(vision(normalize(pictures[seeds])))
            # BOS, visual tokens, text
            embeds = torch.cat((embeds[:, :1], tokens.to(embeds),
                                embeds[:, 1 + len(blank):]), 1)
            loss = next_token_loss(llm, embeds, labels)
        run.step(number, loss)
    return projection
