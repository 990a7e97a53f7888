# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""What the inferencers of all tasks share, over the toolbox's own."""

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, default_collate
from mmengine.model import BaseModel
from PIL import Image, ImageOps
from rich.console import Console
from rich.progress import Progress

from .. import zoo
from ..engine.hooks.visualization import lay_out
from ..errors import ConfigError, ImageError
from ..generation import SamplingParams
from ..images import load_image, to_uint8_array
from ..registry import TRANSFORMS
from ..utils.faults import check_writable

# What a folder is searched for.
SUFFIXES = frozenset(
    '.bmp .gif .jpeg .jpg .png .tif .tiff .webp'.split())


class MiniGPT4Inferencer:
    """The part of an inferencer that no task changes; mixed into each.

    Args:
        model: A name in the zoo, the path of a config file, a config or a
            built model.
        pretrained: Whether to load the weights that the metafile or the
            config names; or the path or the address of a file, or of
            several in braces, that hold the whole model or, over those
            weights, a part of it.
        device: Where to put the model; None leaves it on the CPU.
        device_map: As of the toolbox.
        offload_folder: As of the toolbox.
        llm: Folder of the language model, for models that do not ship it.
        weights: Folder that holds all other weights, so that nothing is
            fetched.
        dtype: ``auto``, ``float32``, ``bfloat16`` or ``float16``, for all
            parts; None keeps the config's.
        quantization: ``none``, ``int8``, ``int8-dynamic``, ``fp8`` or
            ``int4``, for the language model; None keeps the config's.
        **kwargs: Other settings of the model's config.

    Raises:
        MissingWeightsError: If weights are not there. This is found out
            before anything large is allocated.
        ConfigError: If there is no such model or device, or the model does
            another task.
    """

    # The head's `task`, and the toolbox's words for it.
    task: str
    task_name: str

    preprocess_kwargs: set = {'prompt'}
    forward_kwargs: set = {field.name for field in fields(SamplingParams)}

    def __init__(self,
                 model: BaseModel | str | Config,
                 pretrained: bool | str = True,
                 device: str | torch.device | None = None,
                 device_map: str | dict | None = None,
                 offload_folder: str | None = None,
                 *,
                 llm: str | None = None,
                 weights: str | None = None,
                 dtype: str | None = None,
                 quantization: str | None = None,
                 **kwargs: Any) -> None:
        own = dict(llm=llm, weights=weights, dtype=dtype,
                   quantization=quantization)
        kwargs.update({k: v for k, v in own.items() if v is not None})
        if isinstance(model, BaseModel) and kwargs:
            raise ConfigError(
                f'{", ".join(sorted(kwargs))}: the model is built already; '
                'give this to what builds it, or give a name.')
        if isinstance(model, (str, Path)):
            if not str(model).endswith('.py'):
                zoo.find_entry(str(model))
        elif not isinstance(model, (BaseModel, Config)):
            raise ConfigError(
                f'A model is a name, the path of a config file (.py), a '
                f'config or a built model, not {type(model).__name__}.')
        super().__init__(model, pretrained, device, device_map,
                         offload_folder, **kwargs)
        task = self.config.model.head.get('task', 'caption')
        if task != self.task:
            raise ConfigError(
                f'This model does the task {task!r}, not {self.task!r}. Take '
                f"a model whose name ends in '_{self.task}', or give "
                f'head=dict(task={self.task!r}).')

    def answer(self, items: list[dict], return_datasamples: bool,
               batch_size: int, **kwargs: Any) -> list:
        """Answer items; the toolbox's loop, but for its progress bar.

        The toolbox's goes to the standard output, amid the answers, even in
        a pipe; this one is on a terminal's standard error and goes when done.

        Args:
            items: ``img`` and, for questions, ``question``.
            return_datasamples: Give data samples rather than dicts.
            batch_size: Images answered at once; as soon as one is done, the
                next takes its place.
            **kwargs: For the steps of the inferencer, as in the toolbox.

        Raises:
            ConfigError: If an option is unknown or has no meaning.
        """
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ConfigError('batch_size must be a whole number of 1 or '
                              f'more, not {batch_size!r}.')
        self._check_options(kwargs)
        reading, decoding, drawing, packing = self._dispatch_kwargs(**kwargs)
        asked: list = []
        done: set[int] = set()

        def batches() -> Iterator[dict]:
            for batch in self.preprocess(
                    items, batch_size=batch_size, **reading):
                asked.extend(batch['data_samples'])
                yield batch

        with Progress(
                console=Console(stderr=True),
                transient=True,
                disable=not sys.stderr.isatty()) as progress:
            task = progress.add_task('Inference', total=len(items))
            for sample, error in self.model.generate_stream(
                    batches(), max_num_seqs=batch_size, **decoding):
                if error is not None:
                    raise error
                done.add(id(sample))
                progress.advance(task)
        samples = [sample for sample in asked if id(sample) in done]
        drawn = self.visualize(items, samples, **drawing)
        return self.postprocess(samples, drawn, return_datasamples, **packing)

    def _check_options(self, options: dict[str, Any]) -> None:
        """Name what no step takes, and make the folder of drawings."""
        known = (self.preprocess_kwargs | self.forward_kwargs
                 | self.visualize_kwargs | self.postprocess_kwargs)
        for name in options.keys() - known:
            near = get_close_matches(name, known) or sorted(known)
            raise ConfigError(f'There is no option {name!r}. Near ones: '
                              f'{", ".join(near)}.')
        folder = options.get('show_dir')
        if folder is None:
            return
        # Before the answers, which would be lost.
        check_writable(Path(folder, 'x.png'), 'show_dir')
        Path(folder).mkdir(parents=True, exist_ok=True)

    def _inputs_to_list(self, inputs: Any) -> list:
        """A folder stands for its images, in the order of their names.

        Raises:
            ImageError: If it holds none, or cannot be listed.
        """
        if isinstance(inputs, (str, Path)) and os.path.isdir(inputs):
            try:
                found = sorted(
                    str(path) for path in Path(inputs).iterdir()
                    if path.suffix.lower() in SUFFIXES and path.is_file()
                    and not path.name.startswith('.'))
            except OSError as error:
                raise ImageError(f'{inputs}: cannot list this folder: '
                                 f'{error.strerror or error}.') from error
            if not found:
                raise ImageError(
                    f'{inputs}: no images in this folder (looked for '
                    f'{", ".join(sorted(SUFFIXES))}); name the files.')
            return found
        return list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]

    def _init_pipeline(self, cfg: Config) -> Compose:
        """Build the test pipeline; a loader of the toolbox's is left out."""
        steps = [
            step for step in cfg.test_dataloader.dataset.pipeline
            if step['type'] not in ('LoadImageFromFile',
                                    'mmpretrain.LoadImageFromFile')
        ]
        own = f'{zoo.PACKAGE.name}.LoadImage'
        # The toolbox's other steps expect what its own loader gives: BGR.
        self._feeds_bgr = own not in [step['type'] for step in steps]
        # `Compose` itself looks in mmengine's registry alone.
        from mmengine.registry import DefaultScope
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            return Compose([TRANSFORMS.build(step) for step in steps])

    def read(self, image: Any) -> Any:
        """Decode an input; arrays are BGR, as everywhere in the toolbox.

        Raises:
            ImageError: If it cannot be read; the message names it.
        """
        return load_image(image, channel_order='bgr')

    def preprocess(self,
                   inputs: list[dict],
                   batch_size: int = 1,
                   prompt: Any = None) -> Iterator[dict]:
        """Yield batches of images, each with its prompt if it has one."""

        def ready(item: dict) -> dict:
            image = self.read(item['img'])
            if self._feeds_bgr:
                image = to_uint8_array(image)[..., ::-1].copy()
            height_width = (image.shape[:2] if isinstance(image, np.ndarray)
                            else image.size[::-1])
            item = dict(
                item,
                img=image,
                img_shape=height_width,
                ori_shape=height_width)
            own = item.pop('prompt', None)
            packed = self.pipeline(item)
            if own is not None:
                packed['data_samples'].set_field(own, 'prompt')
            return packed

        if prompt is not None:
            prompts = self._one_each(prompt, len(inputs), 'prompts')
            inputs = [
                dict(item, prompt=own)
                for item, own in zip(inputs, prompts, strict=True)
            ]
        for chunk in self._get_chunk_data(map(ready, inputs), batch_size):
            yield default_collate(chunk)

    @torch.no_grad()
    def forward(self, inputs: dict, **options: Any) -> list:
        """Answer a batch; ``options`` go over the config's decoding."""
        data = self.model.data_preprocessor(inputs, False)
        return self.model(**data, mode='predict', **options)

    def visualize(self,
                  ori_inputs: list[dict],
                  preds: list,
                  show: bool = False,
                  wait_time: int = 0,
                  resize: int | None = None,
                  show_dir: str | None = None) -> list[np.ndarray] | None:
        """Draw the answers under copies of the images, RGB.

        Args:
            ori_inputs: ``img`` of each.
            preds: The data samples with their answers.
            show: Show each in a window.
            wait_time: How long a window stays, in seconds.
            resize: Length that an image's longer side is brought to, in
                pixels.
            show_dir: A folder for the drawings, made if it is not there.
        """
        if not show and show_dir is None:
            return None
        if self.visualizer is None:
            from mmpretrain.visualization import UniversalVisualizer
            self.visualizer = UniversalVisualizer()
        draw = getattr(self.visualizer, self.draw)
        drawn: list[np.ndarray] = []
        names: set[str] = set()
        for i, (item, sample) in enumerate(
                zip(ori_inputs, preds, strict=True)):
            source = item['img']
            name = str(i)
            if isinstance(source, (str, Path)) and not str(
                    source).startswith('data:'):
                name = Path(source).stem
            name = _unlike(names, name)
            out_file = None
            if show_dir is not None:
                out_file = str(Path(show_dir) / f'{name}.png')
            image = self.read(source)
            if resize is not None:
                image = ImageOps.contain(
                    Image.fromarray(to_uint8_array(image)), (resize, resize))
            pixels, texts, text_cfg = lay_out(to_uint8_array(image), sample)
            draw(
                pixels,
                texts,
                text_cfg=text_cfg,
                show=show,
                wait_time=wait_time,
                name=name,
                out_file=out_file)
            drawn.append(self.visualizer.get_image())
        if show:
            self.visualizer.close()
        return drawn

    @staticmethod
    def _one_each(given: Any, number: int, what: str) -> list:
        """Give each image its own text; a lone text goes to all of them."""
        if isinstance(given, str):
            return [given] * number
        if not isinstance(given, Sequence) or len(given) != number:
            size = len(given) if isinstance(given, Sequence) else 1
            raise ConfigError(
                f'There are {number} images and {size} {what}: give one for '
                'each, or one text for all.')
        return list(given)


def _unlike(taken: set[str], name: str) -> str:
    """Number a name that is taken, and take it; a disk may know no case."""
    own, number = name, 1
    while own.lower() in taken:
        number += 1
        own = f'{name}_{number}'
    taken.add(own.lower())
    return own
