# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""What the model says of the same few images at each validation."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.visualization import LocalVisBackend
from PIL import Image, ImageDraw, ImageFont
from torch import nn

from ...errors import ConfigError
from ...registry import HOOKS
from ..checkpointing.run_state import unwrapped
from ..distributed.lockstep import lockstep

FIELDS = ('pred_caption', 'pred_answer')
TARGETS = ('gt_caption', 'gt_answer')
LINE = 16  # pixels


@HOOKS.register_module()
class SampleAnswersHook(Hook):
    """Writes ``samples/iter_000500.txt`` and ``.png`` after a validation.

    The images are the same each time, spread evenly over the validation
    data; the text has the model's answer and the target of each, the picture
    the image over the answer. The picture goes to TensorBoard too, if that
    is among the visualizer's backends.

    Args:
        num_images: How many images.
        width: Of an image in the picture, in pixels.
        columns: Images in a row of the picture.
        options: Decoding options over the model's own; greedy decoding, so
            that two validations can be compared.

    Raises:
        ConfigError: If a number is below 1.
    """

    priority = 'LOW'

    def __init__(self,
                 num_images: int = 8,
                 width: int = 224,
                 columns: int = 4,
                 options: dict[str, Any] | None = None) -> None:
        if min(num_images, width, columns) < 1:
            raise ConfigError('SampleAnswersHook needs num_images, width and '
                              'columns of at least 1.')
        self.num_images = num_images
        self.width = width
        self.columns = columns
        self.options = dict(do_sample=False) if options is None else options

    def after_val_epoch(self,
                        runner: Runner,
                        metrics: dict[str, float] | None = None) -> None:
        """Ask, and write; the first process does."""
        model = unwrapped(runner.model)
        with lockstep(model):
            if is_main_process():
                self._ask(runner, model)

    @torch.no_grad()
    def _ask(self, runner: Runner, model: nn.Module) -> None:
        loader = runner.val_dataloader
        size = len(loader.dataset)
        count = min(self.num_images, size)
        items = [loader.dataset[i * size // count] for i in range(count)]
        if not items:
            return
        images = [to_image(item['inputs'], self.width) for item in items]
        data = model.data_preprocessor(loader.collate_fn(items), False)
        answers = model(**data, mode='predict', **self.options)
        texts = [_field(x, FIELDS) or '' for x in answers]
        lines = [
            f'{i}\nanswer: {text}\ntarget: {_field(x, TARGETS)}\n'
            for i, (text, x) in enumerate(zip(texts, answers, strict=True))
        ]
        grid = draw_grid(images, texts, self.columns)
        folder = Path(runner.work_dir) / 'samples'
        folder.mkdir(exist_ok=True)
        name = f'iter_{runner.iter:06d}'
        (folder / f'{name}.txt').write_text('\n'.join(lines), 'utf-8')
        grid.save(folder / f'{name}.png')
        for backend in runner.visualizer._vis_backends.values():
            if not isinstance(backend, LocalVisBackend):
                backend.add_image('samples', np.asarray(grid), runner.iter)
        runner.logger.info(f'Answers to {count} fixed images are in '
                           f'{folder / name}.txt and .png.')


def to_image(pixels: torch.Tensor, width: int) -> Image.Image:
    """Turn the pixels of a data item into a picture of a given width.

    Args:
        pixels: uint8[3, H, W] RGB, or [n, 3, H, W], of which the first is
            taken.
        width: In pixels.
    """
    if pixels.dim() == 4:
        pixels = pixels[0]
    # uint8[3, H, W] -> uint8[H, W, 3]
    array = pixels.clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
    image = Image.fromarray(np.ascontiguousarray(array))
    height = max(1, round(image.height * width / image.width))
    return image.resize((width, height), Image.Resampling.BICUBIC)


def draw_grid(images: Sequence[Image.Image], texts: Sequence[str],
              columns: int) -> Image.Image:
    """Draw images in rows, each over its text.

    Args:
        images: All of one width.
        texts: One for each.
        columns: Images in a row.
    """
    width = images[0].width
    font = ImageFont.load_default(12)
    blocks = [_lines(text, font, width - 8) for text in texts]
    rows = []
    for start in range(0, len(images), columns):
        part = range(start, min(start + columns, len(images)))
        top = max(images[i].height for i in part)
        rows.append((part, top,
                     top + LINE * max(len(blocks[i]) for i in part) + LINE))
    grid = Image.new('RGB', (width * min(columns, len(images)),
                             sum(height for _, _, height in rows)), 'white')
    draw = ImageDraw.Draw(grid)
    y = 0
    for part, top, height in rows:
        for column, i in enumerate(part):
            grid.paste(images[i], (column * width, y))
            draw.multiline_text((column * width + 4, y + top + 2),
                                '\n'.join(blocks[i]), 'black', font)
        y += height
    return grid


def _lines(text: str, font: ImageFont.ImageFont, width: int) -> list[str]:
    """Break a text into lines of at most ``width`` pixels."""
    lines = ['']
    for word in text.split():
        longer = f'{lines[-1]} {word}'.strip()
        if font.getlength(longer) <= width:
            lines[-1] = longer
            continue
        lines.append('')
        for letter in word:
            if font.getlength(lines[-1] + letter) > width:
                lines.append('')
            lines[-1] += letter
    return [line for line in lines if line] or ['']


def _field(sample: Any, names: Sequence[str]) -> Any:
    for name in names:
        if name in sample:
            return sample.get(name)
    return None
