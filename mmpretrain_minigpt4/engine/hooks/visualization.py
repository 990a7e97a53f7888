# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Draw the answers of a test under copies of its images."""

import math
import unicodedata
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.visualization import Visualizer
from PIL import Image

from ...errors import ConfigError
from ...evaluation.runs.prediction_log import INDEX
from ...images import load_image, to_uint8_array
from ...registry import HOOKS

# Which field of a sample is drawn by which method of the visualizer.
DRAW = {
    'pred_caption': 'visualize_image_caption',
    'pred_answer': 'visualize_vqa',
}
# Text on a smaller image cannot be read.
MIN_SIDE = 336  # pixels
STRIP = 32  # grey of the strip that holds the text, 0-255
# Of a letter of one point, as the toolbox's figures draw it.
LETTER, LINE = 0.84, 1.75  # pixels
# Fonts for what the toolbox's own lacks; those that are there are used.
FONTS = ('Noto Sans Mono CJK SC', 'Noto Sans CJK SC', 'Noto Sans CJK JP',
         'Source Han Sans SC', 'WenQuanYi Zen Hei', 'WenQuanYi Micro Hei',
         'PingFang SC', 'Microsoft YaHei', 'SimHei', 'Noto Sans Devanagari',
         'Noto Sans Arabic', 'Noto Emoji')


@HOOKS.register_module()
class TextVisualizationHook(Hook):
    """Draws captions, or questions and answers, under the images.

    The toolbox's own ``VisualizationHook`` draws classes alone. This one has
    its arguments, so that the toolbox's scripts can switch it on by
    ``--show-dir`` and ``--show``. In a run of several processes the first
    one draws its share.

    Args:
        enable: Whether to draw at all.
        interval: Draw each ``interval``-th image.
        show: Show each image in a window.
        wait_time: How long a window stays, in seconds.
        out_dir: Folder for the images, made if it is not there. None hands
            them to the visualizer's backends.

    Raises:
        ConfigError: If ``interval`` is below 1.
    """

    def __init__(self,
                 enable: bool = False,
                 interval: int = 1,
                 show: bool = False,
                 wait_time: float = 0,
                 out_dir: str | None = None) -> None:
        if interval < 1:
            raise ConfigError(
                f'interval must be at least 1 image, got {interval}.')
        self.enable = enable
        self.interval = interval
        self.show = show
        self.wait_time = wait_time
        self.out_dir = out_dir
        self._seen = 0

    def before_val_epoch(self, runner: Runner) -> None:
        """Count from the first image."""
        self._seen = 0

    def before_test_epoch(self, runner: Runner) -> None:
        """Count from the first image."""
        self._seen = 0

    def after_val_iter(self,
                       runner: Runner,
                       batch_idx: int,
                       data_batch: dict | None = None,
                       outputs: Sequence | None = None) -> None:
        """Draw the answers to a batch."""
        self._draw(runner, data_batch, outputs, runner.iter)

    def after_test_iter(self,
                        runner: Runner,
                        batch_idx: int,
                        data_batch: dict | None = None,
                        outputs: Sequence | None = None) -> None:
        """Draw the answers to a batch."""
        self._draw(runner, data_batch, outputs, 0)

    def _draw(self, runner: Runner, batch: dict, samples: Sequence,
              step: int) -> None:
        if not self.enable:
            return
        visualizer = self._visualizer(runner)
        for i, sample in enumerate(samples):
            # Answers may come in any order; where samples know their place
            # it names the file.
            index = sample.get(INDEX)
            index = self._seen + i if index is None else index
            field = next((key for key in DRAW if key in sample), None)
            if index % self.interval or field is None:
                continue
            path = sample.get('img_path')
            name = f'{index:06d}_{Path(path).stem}' if path else f'{index:06d}'
            out_file = None
            if self.out_dir is not None:
                Path(self.out_dir).mkdir(parents=True, exist_ok=True)
                out_file = str(Path(self.out_dir) / f'{name}_{step}.png')
            pixels, texts, text_cfg = lay_out(
                _pixels(path, batch['inputs'][i]), sample)
            getattr(visualizer, DRAW[field])(
                pixels,
                texts,
                text_cfg=text_cfg,
                show=self.show,
                wait_time=self.wait_time,
                out_file=out_file,
                name=name,
                step=step)
        self._seen += len(samples)

    @staticmethod
    def _visualizer(runner: Runner) -> Visualizer:
        if all(hasattr(runner.visualizer, method) for method in DRAW.values()):
            return runner.visualizer
        from mmpretrain.visualization import UniversalVisualizer
        return UniversalVisualizer.get_instance('text')


def lay_out(pixels: np.ndarray, sample: Any
            ) -> tuple[np.ndarray, dict[str, str], dict]:
    """Put a strip for the texts of a sample under its image.

    Args:
        pixels: uint8[H, W, 3].
        sample: With an answer.

    Returns:
        tuple: The pixels, and what the toolbox's visualizer takes as the
        sample and as ``text_cfg``.
    """
    texts = _texts(sample)
    told = texts['pred_caption'] if 'pred_caption' in sample else (
        f'Q: {texts["question"]}\nA: {texts["pred_answer"]}')
    pixels, text_cfg = with_strip(pixels, told)
    return pixels, texts, text_cfg


def with_strip(pixels: np.ndarray, text: str) -> tuple[np.ndarray, dict]:
    """Put a strip under an image, and say where and how text goes there.

    Args:
        pixels: uint8[H, W, 3]; a small image is enlarged.
        text: What the strip shall have room for.

    Returns:
        tuple: The pixels, and ``text_cfg`` of the toolbox's visualizer.
    """
    short = min(pixels.shape[:2])
    if short < MIN_SIDE:
        size = [round(x * MIN_SIDE / short) for x in pixels.shape[1::-1]]
        pixels = np.asarray(
            Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))
        short = MIN_SIDE
    # The toolbox's own size for an image of this size.
    scale = min(max(short / 224, 0.3), 3.0)
    points, margin = int(7 * scale), round(5 * scale)
    room = max(1, int((pixels.shape[1] - 2 * margin) / (LETTER * points)))
    # Lines are broken at words, and so not filled.
    lines = sum(math.ceil(_width(x) * 1.2 / room) or 1
                for x in text.split('\n'))
    height = round(lines * LINE * points) + 3 * margin
    # uint8[H, W, 3] -> uint8[H + strip, W, 3]
    whole = np.pad(pixels, ((0, height), (0, 0), (0, 0)),
                   constant_values=STRIP)
    return whole, dict(
        size=points,
        position=(margin, pixels.shape[0] + margin),
        family=['monospace', *_fonts()])


def _width(text: str) -> int:
    """Of a text in letters; Chinese characters are two wide."""
    return sum(1 + (unicodedata.east_asian_width(x) in 'WF') for x in text)


@cache
def _fonts() -> tuple[str, ...]:
    from matplotlib import font_manager
    there = {font.name for font in font_manager.fontManager.ttflist}
    return tuple(name for name in FONTS if name in there)


def _pixels(path: str | None, inputs: Any) -> np.ndarray:
    """Read the image as it was, or take the model's input: RGB, 0 to 255."""
    if path:
        return to_uint8_array(load_image(path))
    # float[3, H, W] -> uint8[H, W, 3]
    pixels = inputs.permute(1, 2, 0).cpu().numpy()
    return np.ascontiguousarray(pixels.astype(np.uint8))


def _texts(sample: Any) -> dict[str, str]:
    """What the visualizer reads; it takes text within dollars as maths."""
    texts = {key: str(sample.get(key)) for key in ('question', *DRAW)}
    return {key: text.replace('$', r'\$') for key, text in texts.items()}
