# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Draw the scenes of a pretraining run once, and hand them out in batches."""

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mmpretrain_minigpt4.datasets.shapes import draw_scene

# Source: OpenAI CLIP's statistics times 255, as BLIP-2 and MiniGPT-4 use.
MEAN = (122.770938, 116.7460125, 104.09373615)
STD = (68.5005327, 66.6321579, 70.32316305)


def _draw(seeds: range, side: int) -> np.ndarray:
    images = [
        draw_scene(seed).image.resize((side, side), Image.Resampling.BICUBIC)
        for seed in seeds
    ]
    return np.stack([np.asarray(image) for image in images])


def draw_pictures(seeds: range, side: int, cache: Path,
                  workers: int = 2) -> np.ndarray:
    """Draw scenes as the model's pipeline will see them.

    Args:
        seeds: Of the scenes.
        side: Of the model's input, in pixels.
        cache: A ``.npy`` file, read if it is there, else written.
        workers: Processes to draw with.

    Returns:
        uint8[len(seeds), side, side, 3], RGB.
    """
    if cache.is_file():
        pictures = np.load(cache, mmap_mode='r')
        if pictures.shape == (len(seeds), side, side, 3):
            return pictures
    parts = [seeds[i:i + 1000] for i in range(0, len(seeds), 1000)]
    with ProcessPoolExecutor(workers) as pool:
        drawn = list(pool.map(_draw, parts, [side] * len(parts)))
    pictures = np.concatenate(drawn)
    cache.parent.mkdir(parents=True, exist_ok=True)
    np.save(cache, pictures)
    return pictures


def normalize(pictures: np.ndarray) -> Tensor:
    """uint8[B, H, W, 3] to the backbone's float[B, 3, H, W]."""
    pixels = torch.from_numpy(np.ascontiguousarray(pictures)).float()
    pixels = (pixels - torch.tensor(MEAN)) / torch.tensor(STD)
    return pixels.permute(0, 3, 1, 2).contiguous()
