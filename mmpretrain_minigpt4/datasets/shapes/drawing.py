# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Draw a scene: varied backgrounds, jitter, noise, anti-aliased edges."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from .words import BACKGROUNDS, COLORS, PLACES, SIZES

if TYPE_CHECKING:
    from .scene import SceneObject

# Shapes are drawn this much larger and averaged down: soft edges.
SUPERSAMPLE = 2
COLOR_JITTER = 14  # steps of 0-255, each channel
NOISE = (2.0, 9.0)  # standard deviation, steps of 0-255


def _background(rng: np.random.Generator, name: str,
                size: int) -> np.ndarray:
    """Plain, graded or striped, float[S, S, 3] in 0-255."""
    base = np.array(BACKGROUNDS[name], np.float32) + rng.uniform(-9, 9, 3)
    kind = rng.integers(3)
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
    angle = rng.uniform(0, 2 * math.pi)
    along = math.cos(angle) * (x - 0.5) + math.sin(angle) * (y - 0.5)
    if kind == 0:
        tone = np.zeros_like(along)
    elif kind == 1:
        tone = along * rng.uniform(10, 26)
    else:
        period = rng.uniform(0.06, 0.2)
        tone = np.sin(along * 2 * math.pi / period) * rng.uniform(4, 10)
    return base + tone[:, :, None]


def _outline(shape: str, cx: float, cy: float, radius: float,
             turn: float) -> list[tuple[float, float]]:
    """Corners of a polygonal shape, in pixels of the enlarged canvas."""
    if shape == 'square':
        corners = [(-.88, -.88), (.88, -.88), (.88, .88), (-.88, .88)]
    elif shape == 'triangle':
        corners = [(0, -1.05), (1.05, .85), (-1.05, .85)]
    else:  # cross: a plus sign
        w = 0.36
        corners = [(-w, -1), (w, -1), (w, -w), (1, -w), (1, w), (w, w),
                   (w, 1), (-w, 1), (-w, w), (-1, w), (-1, -w), (-w, -w)]
    cos, sin = math.cos(turn), math.sin(turn)
    return [(cx + radius * (cos * x - sin * y),
             cy + radius * (sin * x + cos * y)) for x, y in corners]


def _draw_object(canvas: Image.Image, item: 'SceneObject',
                 rng: np.random.Generator) -> None:
    side = canvas.width
    radius = rng.uniform(*SIZES[item.size]) * side
    # Objects stay inside their quarter of the picture.
    room = 0.235 * side - radius
    cx, cy = (center * side + rng.uniform(-room, room)
              for center in PLACES[item.place])
    color = tuple(
        int(np.clip(c + rng.uniform(-COLOR_JITTER, COLOR_JITTER), 0, 255))
        for c in COLORS[item.color])
    pen = ImageDraw.Draw(canvas)
    box = (cx - radius, cy - radius, cx + radius, cy + radius)
    if item.shape == 'circle':
        pen.ellipse(box, fill=color)
    elif item.shape == 'ring':
        pen.ellipse(box, outline=color, width=max(2, round(radius * 0.42)))
    else:
        turn = rng.uniform(-0.16, 0.16)  # radians
        pen.polygon(
            _outline(item.shape, cx, cy, radius, turn), fill=color)


def draw(objects: 'Sequence[SceneObject]', background: str, seed: int,
         size: int) -> Image.Image:
    """Draw a scene.

    Args:
        objects: What to draw.
        background: A name of :data:`~.words.BACKGROUNDS`.
        seed: Fixes jitter and noise.
        size: Side of the picture, in pixels.

    Returns:
        PIL image, RGB, ``size`` x ``size``.
    """
    rng = np.random.default_rng([seed, 7])
    # Stripes and gradients are smooth: no need to draw them enlarged.
    ground = Image.fromarray(
        np.clip(_background(rng, background, size), 0, 255).astype(np.uint8))
    side = size * SUPERSAMPLE
    canvas = ground.resize((side, side), Image.Resampling.BILINEAR)
    for item in objects:
        _draw_object(canvas, item, rng)
    pixels = np.asarray(canvas.reduce(SUPERSAMPLE), np.float32)
    noise = rng.standard_normal(pixels.shape, np.float32)
    pixels = pixels + noise * rng.uniform(*NOISE)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
