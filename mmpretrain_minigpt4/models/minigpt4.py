# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""MiniGPT-4: a frozen eye, a frozen voice, and the projection between them.

Legend: B samples, n images of a sample, H and W pixels, N image tokens, D
their width, Q visual tokens of an image, C width of the neck, E width of the
language model.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModel

from .. import ops
from ..checkpoints import download
from ..errors import ConfigError, MiniGPT4Error
from ..llm import lora as lora_
from ..llm.dtypes import compute_dtype
from ..registry import MODELS, checks_settings
from .frozen import prepare_frozen
from .graphed_vision import GraphedVisionEncoder
from .image_prefetch import see

PARTS = ('backbone', 'neck', 'projector', 'head')


@MODELS.register_module()
@checks_settings
class MiniGPT4(BaseModel):
    """Builds its parts from config, freezes them, and hands tensors on.

    Args:
        backbone: Images to ``(float[B, N, D],)``.
        neck: That tuple to ``(float[B, Q, C],)``; None hands it on.
        projector: float[B, Q, C] to float[B, Q, E]. None, together with
            the head, leaves an eye alone: images to float[B, Q, C].
        head: Visual tokens and data samples to a loss or to text.
        data_preprocessor: Config; its type defaults to the toolbox's
            ``MultiModalDataPreprocessor``.
        freeze: The parts that are not trained: their parameters need no
            gradient and they stay in eval mode.
        checkpoints: Files to load, strictly, once all is built: paths,
            ``asset://`` or addresses, as :mod:`weights` finds them. With them
            the vision parts are built empty, rather than filled with random
            numbers first. Only a language model that has its own folder may
            be missing in them, and the parts of ``from_scratch``.
        from_scratch: Parts that begin with random weights although there
            are checkpoints: ``('projector',)`` for stage 1.
        lora: Settings of LoRA on the language model, see
            :func:`.lora.add_lora`. It is trained though the head is frozen.
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
        _check_names('freeze', freeze)
        _check_names('from_scratch', from_scratch)
        compute_dtype(dtype, torch.device(
            'cuda' if torch.cuda.is_available() else 'cpu'))
        # Files are looked for, the projection is small, and the head checks
        # before it loads, so that nothing large is built, or fetched, for a
        # model that cannot be completed.
        on_meta = torch.get_default_device().type == 'meta'
        checkpoints = [] if on_meta else list(checkpoints or ())
        if isinstance(head, Mapping):
            kind = MODELS.get(head['type'])
            if hasattr(kind, 'check'):
                kind.check(**head)
        if isinstance(data_preprocessor, Mapping):
            data_preprocessor = dict(data_preprocessor)
            data_preprocessor.setdefault(
                'type', 'mmpretrain.MultiModalDataPreprocessor')
        index = None
        if features is not None:
            from ..features.loading import open_features
            index = open_features(
                features, backbone, neck, data_preprocessor, freeze,
                from_scratch, checkpoints or on_meta)
            backbone = neck = None
            data_preprocessor = dict(
                type='mmpretrain_minigpt4.FeaturePreprocessor')
        else:
            for names in checkpoints:
                download.check(str(names))
        if lora is not None:
            if head is None or 'head' not in freeze:
                raise ConfigError('model.lora is for a frozen language '
                                  "model: leave 'head' in freeze.")
            lora_.check_lora(lora)
        empty = bool(checkpoints)
        projector = _build(projector, empty and
                           'projector' not in from_scratch)
        if isinstance(head, Mapping) and hasattr(projector, 'out_channels'):
            head = dict(head)
            head.setdefault('in_channels', projector.out_channels)
        head = _build(head)
        super().__init__(data_preprocessor, init_cfg)
        # What a loader has pinned then comes while the host goes on.
        self.data_preprocessor._non_blocking = True
        self.backbone = _build(backbone, empty and
                               'backbone' not in from_scratch)
        self.neck = _build(neck, empty and 'neck' not in from_scratch)
        self.projector = projector
        self.head = head
        self.dtype = dtype
        self.prepack, self.kernels = prepack, kernels
        self.freeze = tuple(freeze)
        for part in self._frozen_parts():
            part.requires_grad_(False)
            part.eval()
        self.lora = lora
        if lora is not None:
            lora_.add_lora(self.head.llm, **lora)
        self.features = index
        self._prepared_on: torch.device | None = None
        self._eye = GraphedVisionEncoder()
        self.load_report = None
        if checkpoints:
            self._load(checkpoints, from_scratch)
        self.register_load_state_dict_post_hook(_forgive_loaded_parts)

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
        # mmengine takes the mean of every weight. A language model comes
        # with its own, and quantised ones have no mean.
        parts = getattr(self.head, '_modules', {})
        kept = {k: x for k, x in parts.items() if k == 'llm'}
        parts.update(dict.fromkeys(kept))
        try:
            super().init_weights()
        finally:
            parts.update(kept)

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
    def generate_stream(self,
                batches: Iterable[Mapping],
                max_num_seqs: int | None = None,
                **options) -> Iterator[tuple[object, MiniGPT4Error | None]]:
        """Answer collated batches, each sample as soon as it is done.

        Nothing waits for the longest answer of its batch: the next samples
        take the places of those that have ended. An image that came a moment
        ago is not encoded again.

        Args:
            batches: As a data loader gives them, read lazily.
            slots: Samples that are answered at a time.
            options: Decoding options.

        Returns:
            Iterator: The batches' own data samples with their answers, in
            any order, and None; or a sample that cannot be answered and the
            error that says why.
        """
        self._prepare()
        prefetch_images = self.head.engine.prefetch_images
        yield from self.head.answerer.generate_stream(
            see(self, batches, prefetch_images), max_num_seqs, **options)

    def extract_feat(self, images: torch.Tensor | Sequence[torch.Tensor]
                     ) -> torch.Tensor | list[torch.Tensor]:
        """Visual tokens, nested as the images are."""
        self._prepare()
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

    def _load(self, checkpoints: Sequence[str],
              from_scratch: Sequence[str]) -> None:
        from ..checkpoints.loading import load_checkpoints
        from ..features.loading import load_without_vision
        optional = [name + '.' for name in from_scratch]
        if getattr(self.head, 'has_own_weights', False):
            optional.append('head.llm.')
        if self.features is not None:
            self.load_report = load_without_vision(
                self, checkpoints, self.features, tuple(optional))
        else:
            self.load_report = load_checkpoints(
                self, [path for name in checkpoints
                       for path in download.locate(str(name))],
                allow_missing=tuple(optional))
        if self.lora is None:
            return
        if lora_.check_loaded(
                self.head.llm, self.load_report.sources, 'head.llm.'):
            lora_.check_scale(self.load_report.files, self.lora)
        else:
            print_log('LoRA begins anew: no checkpoint holds its weights.',
                      'current')

    def _encode(self, images: torch.Tensor) -> torch.Tensor:
        feats = (images, ) if self.backbone is None else self._see(images)
        if self.projector is None:
            return feats[-1]
        if self.features is not None and list(
                images.shape[1:]) != self.features.shape:
            raise _wrong_images(images, 2)
        first = next(self.projector.parameters())
        return self.projector(feats[-1].to(first))

    def _see(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        if self._eye.records(self, images):
            return (self._eye(self, images), )
        with ops.kernels.off(not self.kernels):
            return self._look(images)

    def _look(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        # A frozen part computes no gradient, unless something before it is
        # trained.
        frozen = 'backbone' in self.freeze
        first = next(self.backbone.parameters())
        with torch.set_grad_enabled(torch.is_grad_enabled() and not frozen):
            feats = self.backbone(images.to(first))
        if self.neck is not None:
            frozen = frozen and 'neck' in self.freeze
            first = next(self.neck.parameters(), feats[-1])
            with torch.set_grad_enabled(torch.is_grad_enabled()
                                        and not frozen):
                feats = self.neck(tuple(x.to(first) for x in feats))
        return feats

    def _prepare(self) -> None:
        device = self.device
        if self._prepared_on != device:
            prepare_frozen(self, device)
            self._prepared_on = device

    def _apply(self, *args, **kwargs) -> MiniGPT4:
        # Moved or converted, weights have to be looked after again.
        self._prepared_on = None
        return super()._apply(*args, **kwargs)


def _build(part: dict | torch.nn.Module | None,
           empty: bool = False) -> torch.nn.Module | None:
    if not isinstance(part, Mapping):
        return part
    with torch.device('meta') if empty else contextlib.nullcontext():
        return MODELS.build(dict(part))


def _check_names(argument: str, names: Sequence[str]) -> None:
    names = [names] if isinstance(names, str) else list(names)
    for name in names:
        if name not in PARTS:
            raise ConfigError(f'{argument} is a list of parts '
                              f'({", ".join(PARTS)}); {name!r} is not one.')


def _wrong_images(images: torch.Tensor, dims: int) -> ConfigError:
    if dims == 2:
        return ConfigError(
            'This model was built for cached features (model.features), '
            f'and got a tensor {list(images.shape)}. Leave model.features '
            'out to give it images; in training, let the config have '
            "runner_type='mmpretrain_minigpt4.Runner'.")
    return ConfigError('Images are float[B, 3, H, W] or float[B, n, 3, '
                       f'H, W], not {list(images.shape)}.')


def _forgive_loaded_parts(module: MiniGPT4, incompatible) -> None:
    """Let checkpoints of what was trained leave out what was loaded."""
    if module.load_report is None:
        return
    frozen = tuple(name + '.' for name in module.freeze if name != 'head')
    incompatible.missing_keys[:] = [
        key for key in incompatible.missing_keys
        if not key.removeprefix('module.').startswith(frozen)
    ]
