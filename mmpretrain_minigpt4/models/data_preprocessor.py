# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""What comes before the model: several images a sample, or features."""

from collections.abc import Mapping, Sequence

import torch
from mmengine.model import BaseDataPreprocessor

from ..errors import ConfigError
from ..registry import MODELS


@MODELS.register_module()
class ImageListPreprocessor(BaseDataPreprocessor):
    """Normalises lists of images; the toolbox's wants one tensor for all.

    Legend: n images of a sample, H and W pixels.

    Args:
        mean: Of each channel, for values of 0 to 255.
        std: Of each channel, for values of 0 to 255.
        to_rgb: Must be False: what the package reads is RGB already.
        non_blocking: As of the toolbox.

    Raises:
        ConfigError: If ``to_rgb`` is set.
    """

    def __init__(self,
                 mean: Sequence[float],
                 std: Sequence[float],
                 to_rgb: bool = False,
                 non_blocking: bool = False) -> None:
        super().__init__(non_blocking)
        if to_rgb:
            raise ConfigError('Images are read as RGB: set to_rgb=False.')
        for name, values in (('mean', mean), ('std', std)):
            self.register_buffer(
                name, torch.tensor(values, dtype=torch.float32).view(-1, 1, 1),
                False)

    def forward(self, data: Mapping, training: bool = False) -> dict:
        """Move and normalise.

        Args:
            data: ``inputs``, a list of uint8[3, H, W] or uint8[n, 3, H, W],
                or one tensor of them; and ``data_samples``.
            training: As of the toolbox; without effect.

        Returns:
            dict: ``images``, float and nested as they were, and
            ``data_samples``.
        """
        data = self.cast_data(data)
        images = data.get('inputs')
        if isinstance(images, torch.Tensor):
            images = self._normalise(images)
        elif images is not None:
            images = [self._normalise(each) for each in images]
        return dict(images=images, data_samples=data.get('data_samples'))

    def _normalise(self, images: torch.Tensor) -> torch.Tensor:
        return (images.float() - self.mean) / self.std


@MODELS.register_module()
class FeaturePreprocessor(BaseDataPreprocessor):
    """Moves cached features to the model; there is nothing to normalise."""

    def forward(self, data: Mapping, training: bool = False) -> dict:
        """Move.

        Args:
            data: ``inputs``, features of any nesting, and ``data_samples``.
            training: As of the toolbox; without effect.
        """
        data = self.cast_data(data)
        return dict(
            images=data.get('inputs'), data_samples=data.get('data_samples'))
