# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""MiniGPT-4: frozen vision, a frozen language model, and one projection.

Legend: B samples, n images of a sample, H and W pixels, N image tokens, D
their width, Q visual tokens of an image, C width of the neck, E width of the
language model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from mmengine.model import BaseModel, ModuleDict

from ..errors import ConfigError, MiniGPT4Error
from ..llm import lora as lora_
from ..registry import MODELS, checks_settings
from .building import (
    build_head,
    build_part,
    check_settings,
    list_checkpoints,
    open_inputs,
)
from .frozen import prepare_frozen
from .graphed_vision import GraphedVisionEncoder
from .image_prefetch import prefetch
from .loading import allow_missing_frozen, load_parts


@MODELS.register_module()
@checks_settings
class MiniGPT4(BaseModel):
    """Builds its parts from config, freezes them, and hands tensors on.

    Args:
        backbone: Images to ``(float[B, N, D],)``.
        neck: That tuple to ``(float[B, Q, C],)``; None hands it on.
        projector: float[B, Q, C] to float[B, Q, E]. None, together with
            the head, leaves the vision encoder alone: images to
            float[B, Q, C].
        head: Visual tokens and data samples to a loss or to text.
        data_preprocessor: Config; its type defaults to the toolbox's
            ``MultiModalDataPreprocessor``.
        freeze: The parts that are not trained: their parameters need no
            gradient and they stay in eval mode.
        checkpoints: Files to load, strictly, once all is built: paths,
            ``asset://`` or addresses, as :mod:`~..checkpoints.download` finds
            them. With them
            the vision parts are built empty, rather than filled with random
            numbers first. Only a language model that has its own folder may
            be missing in them, and the parts of ``from_scratch``.
        from_scratch: Parts that begin with random weights although there
            are checkpoints: ``('projector',)`` for stage 1.
        lora: Settings of LoRA on the language model, see
            :func:`..llm.lora.add_lora`. It is trained though the head is
            frozen.
        features: Folder of a feature cache. The images are then features,
            float[B, Q, C], and neither the backbone nor the neck is built;
            their settings, their weights and the data preprocessor must be
            those of the cache.
        dtype: Type of the frozen vision parts: ``auto`` (bfloat16 on a GPU,
            float32 on a CPU), ``float32``, ``bfloat16`` or ``float16``. What
            is trained stays float32; the head has its own.
        prepack: Lay out the frozen weights once as fast products want them:
            on a CPU in its own layout, and the original is freed; elsewhere
            those that read the same input side by side.
        kernels: Use the compiled kernels for CPUs in the vision parts and in
            the products of ``prepack``, where there are any; the head has a
            switch of its own, ``engine.kernels``.
        init_cfg: As of every module of the toolbox.

    Raises:
        ConfigError: If the parts do not fit together.
        MissingWeightsError: If the language model is not there. This is
            found out before anything large is allocated.
    """

    def __init__(self,
                 backbone: dict,
                 neck: dict | None,
                 projector: dict | None,
                 head: dict | None,
                 data_preprocessor: dict | None = None,
                 freeze: Sequence[str] = ('backbone', 'neck', 'head'),
                 checkpoints: Sequence[str] | None = None,
                 from_scratch: Sequence[str] = (),
                 lora: dict | None = None,
                 features: str | None = None,
                 dtype: str = 'auto',
                 prepack: bool = True,
                 kernels: bool = True,
                 init_cfg: dict | None = None) -> None:
        # Files are looked for, the projection is small, and the head checks
        # before it loads, so that nothing large is built, or downloaded, for
        # a model that cannot be completed.
        check_settings(freeze, from_scratch, head, lora, dtype)
        checkpoints = list_checkpoints(checkpoints)
        index, backbone, neck, data_preprocessor = open_inputs(
            features, backbone, neck, data_preprocessor, freeze, from_scratch,
            checkpoints)
        empty = {name: bool(checkpoints) and name not in from_scratch
                 for name in ('backbone', 'neck', 'projector')}
        projector = build_part(projector, empty['projector'])
        head = build_head(head, projector)
        super().__init__(data_preprocessor, init_cfg)
        # Pinned inputs are then copied while the host goes on; the toolbox's
        # preprocessor has no argument for it.
        self.data_preprocessor._non_blocking = True
        self.backbone = build_part(backbone, empty['backbone'])
        self.neck = build_part(neck, empty['neck'])
        self.projector, self.head = projector, head
        self.dtype, self.prepack, self.kernels = dtype, prepack, kernels
        self.freeze, self.lora, self.features = tuple(freeze), lora, index
        for part in self._frozen_parts():
            part.requires_grad_(False)
            part.eval()
        if lora is not None:
            lora_.add_lora(self.head.llm, **lora)
        self._prepared_on: torch.device | None = None
        self._vision = GraphedVisionEncoder()
        self.load_report = None
        if checkpoints:
            self.load_report = load_parts(self, checkpoints, from_scratch)
        self.register_load_state_dict_post_hook(allow_missing_frozen)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        part = self.backbone if self.projector is None else self.projector
        return next(part.parameters()).device

    def train(self, mode: bool = True) -> MiniGPT4:
        """Set the mode of all but the frozen parts, which stay in eval."""
        super().train(mode)
        for part in self._frozen_parts():
            part.eval()
        if self.lora is not None:
            lora_.set_lora_mode(self.head.llm, mode)
        return self

    def init_weights(self) -> None:
        """Follow the parts' ``init_cfg``, unless checkpoints were loaded.

        The Runner calls this when all is built.
        """
        if self.load_report is not None:
            return
        # A language model comes with its own weights: the toolbox, which
        # takes the mean of each weight that it may change, is not shown them.
        parts = {name: part for name, part in self.named_children()
                 if not hasattr(part, 'llm')}
        ModuleDict(parts, self.init_cfg).init_weights()

    def forward(self,
                images: torch.Tensor | Sequence[torch.Tensor] | None,
                data_samples: Sequence | None = None,
                mode: str = 'tensor',
                **kwargs):
        """Encode, train or answer.

        Args:
            images: float[B, 3, H, W], one image for each sample; or
                float[B, n, 3, H, W]; or a list of float[n, 3, H, W], where
                samples differ in their number of images; or None for no
                images at all.
            data_samples: What the head reads; see its class.
            mode: ``tensor``, ``loss`` or ``predict``.
            kwargs: Decoding options, in mode ``predict``.

        Returns:
            Visual tokens, float[B, Q, E] (or as the images are nested), a
            dict with ``loss``, or a list of data samples.
        """
        if kwargs and mode != 'predict':
            raise ConfigError(f'Mode {mode!r} takes no options; it was given '
                              f'{", ".join(sorted(kwargs))}.')
        if images is None:
            if data_samples is None:
                raise ConfigError('There are neither images nor samples.')
            images = [torch.empty(0, 3, 1, 1) for _ in data_samples]
        if mode == 'tensor':
            return self.extract_feat(images)
        if mode == 'loss':
            return self.head.loss(self.extract_feat(images), data_samples)
        if mode == 'predict':
            with torch.no_grad():
                return self.head.predict(
                    self.extract_feat(images), data_samples, **kwargs)
        raise ConfigError(f'There is no mode {mode!r}; known: tensor, loss, '
                          'predict.')

    @torch.no_grad()
    def loss_terms(self, images: torch.Tensor | Sequence[torch.Tensor],
                   data_samples: Sequence) -> tuple[torch.Tensor, int]:
        """The sum that the loss is the mean of, and of how many tokens."""
        return self.head.loss_terms(self.extract_feat(images), data_samples)

    @torch.no_grad()
    def generate_stream(self, batches: Iterable[Mapping],
                        max_num_seqs: int | None = None, **options
                        ) -> Iterator[tuple[object, MiniGPT4Error | None]]:
        """Answer collated batches, each sample as soon as it is done.

        Nothing waits for the longest answer of its batch: the next samples
        take the places of those that have ended. An image that came a moment
        ago is not encoded again.

        Args:
            batches: As a data loader gives them, read lazily.
            max_num_seqs: Samples that are answered at a time.
            options: Decoding options.

        Returns:
            Iterator: The batches' own data samples with their answers, in
            any order, and None; or a sample that cannot be answered and the
            error that says why.
        """
        self.prepare()
        samples = prefetch(self, batches, self.head.engine.prefetch_images)
        yield from self.head.answerer.generate_stream(
            samples, max_num_seqs, **options)

    def extract_feat(self, images: torch.Tensor | Sequence[torch.Tensor]
                     ) -> torch.Tensor | list[torch.Tensor]:
        """Visual tokens, nested as the images are."""
        self.prepare()
        # Of an image: 3, H and W; of its features: Q and C.
        dims = 3 if self.features is None else 2
        if isinstance(images, torch.Tensor):
            if images.dim() == dims + 1:
                return self._encode(images)
            if images.dim() == dims + 2:
                tokens = self._encode(images.flatten(0, 1))
                # float[B * n, Q, E] -> float[B, n, Q, E]
                return tokens.unflatten(0, images.shape[:2])
            raise _wrong_images(images, dims)
        images = [x.unsqueeze(0) if x.dim() == dims else x for x in images]
        counts = [len(x) for x in images]
        some = [x for x in images if len(x)]
        if not some:
            width = getattr(self.head, 'embed_dims', 0)
            return [torch.empty(0, 0, width, device=self.device)
                    for _ in images]
        # float[sum of n, Q, E] -> B times float[n, Q, E]
        return list(self._encode(torch.cat(some)).split(counts))

    def _frozen_parts(self) -> list[torch.nn.Module]:
        parts = [getattr(self, name) for name in self.freeze]
        return [part for part in parts if part is not None]

    def _encode(self, images: torch.Tensor) -> torch.Tensor:
        feats = images
        if self.backbone is not None:
            feats = self._vision.encode(self, images)
        if self.projector is None:
            return feats
        if self.features is not None and list(
                images.shape[1:]) != self.features.shape:
            raise _wrong_images(images, 2)
        return self.projector(feats.to(next(self.projector.parameters())))

    def prepare(self) -> None:
        """Convert and lay out what is frozen, once for each device.

        The first call of the model does it; who measures does it before.
        """
        device = self.device
        if self._prepared_on != device:
            prepare_frozen(self, device)
            self._prepared_on = device

    def _apply(self, *args, **kwargs) -> MiniGPT4:
        # Moved or converted, weights have to be prepared again.
        self._prepared_on = None
        return super()._apply(*args, **kwargs)


def _wrong_images(images: torch.Tensor, dims: int) -> ConfigError:
    if dims == 2:
        return ConfigError(
            'This model was built for cached features (model.features), '
            f'and got a tensor {list(images.shape)}. Leave model.features '
            'out to give it images; in training, let the config have '
            "runner_type='mmpretrain_minigpt4.Runner'.")
    return ConfigError('Images are float[B, 3, H, W] or float[B, n, 3, '
                       f'H, W], not {list(images.shape)}.')
