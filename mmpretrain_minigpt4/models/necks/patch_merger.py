# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""PatchMerger: fewer and wider image tokens, with nothing to learn.

Letters of shapes: B images, N = 1 + M patches with the CLS token, D their
width, k patches that are merged into one token.
"""

from mmengine.model import BaseModule
from torch import Tensor

from ...errors import ConfigError
from ...registry import MODELS


@MODELS.register_module()
class PatchMerger(BaseModule):
    """Lay each run of consecutive patches side by side in one token.

    It stands where the Q-Former stands in the Llama-2 variant: 257 tokens of
    width 1408 become 64 of width 5632. The CLS token is dropped.

    Args:
        num_patches: Number k of consecutive patches in a token.
        init_cfg: mmengine's initialisation config.

    Raises:
        ConfigError: If ``num_patches`` is below 1.
    """

    def __init__(self,
                 num_patches: int = 4,
                 init_cfg: dict | None = None) -> None:
        if num_patches < 1:
            raise ConfigError(
                f'PatchMerger: num_patches={num_patches} must be 1 or more.')
        super().__init__(init_cfg)
        self.num_patches = num_patches

    def forward(self, feats: tuple[Tensor, ...]) -> tuple[Tensor]:
        """Merge the patches.

        Args:
            feats: The backbone's output; its last ``float[B, N, D]`` is
                merged.

        Returns:
            A tuple of one tensor, ``float[B, M / k, k * D]``.

        Raises:
            ConfigError: If M is not a multiple of k.
        """
        x = feats[-1][:, 1:]  # without CLS: [B, M, D]
        b, m, d = x.shape
        k = self.num_patches
        if m % k:
            raise ConfigError(
                f'PatchMerger: {m} patches cannot be merged by {k}; choose '
                'an img_size whose patches that number divides.')
        return (x.reshape(b, m // k, k * d), )
