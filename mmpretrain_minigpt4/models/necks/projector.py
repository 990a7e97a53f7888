# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""LinearProjector: the one trained part of MiniGPT-4.

Letters of shapes: B images, Q visual tokens, C their width, E the width of
the language model's embeddings.
"""

from mmengine.model import BaseModule
from torch import Tensor, nn

from ...errors import ConfigError
from ...registry import MODELS


@MODELS.register_module()
class LinearProjector(BaseModule):
    """Map visual tokens into the language model's embedding space.

    Args:
        in_channels: Width C of the visual tokens.
        out_channels: Width E of the language model's embeddings.
        num_layers: One linear layer, or more with GELU between them (the
            paper's ablation has three).
        hidden_channels: Width between the layers; None means
            ``out_channels``.
        init_cfg: mmengine's initialisation config.

    Raises:
        ConfigError: If ``num_layers`` is below 1.

    Source: MiniGPT-4 (arXiv:2304.10592) section 3 and its ablations.
    """

    def __init__(self,
                 in_channels: int = 768,
                 out_channels: int = 4096,
                 num_layers: int = 1,
                 hidden_channels: int | None = None,
                 init_cfg: dict | None = None) -> None:
        if num_layers < 1:
            raise ConfigError(
                f'LinearProjector: num_layers={num_layers} must be 1 or '
                'more; 1 is what MiniGPT-4 uses.')
        super().__init__(init_cfg)
        self.in_channels = in_channels
        self.out_channels = out_channels
        hidden = out_channels if hidden_channels is None else hidden_channels
        widths = [in_channels] + [hidden] * (num_layers - 1) + [out_channels]
        layers: list[nn.Module] = []
        for wide, next_wide in zip(widths, widths[1:], strict=False):
            layers += [nn.Linear(wide, next_wide), nn.GELU()]
        self.layers = nn.Sequential(*layers[:-1])

    def reset_parameters(self) -> None:
        """Draw new weights as ``nn.Linear`` does."""
        for module in self.layers:
            if isinstance(module, nn.Linear):
                module.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        """Map ``float[B, Q, C]`` to ``float[B, Q, E]``.

        Raises:
            ConfigError: If the tokens are of another width.
        """
        if x.shape[-1] != self.in_channels:
            raise ConfigError(
                f'LinearProjector was built for tokens of width in_channels='
                f'{self.in_channels} and got {x.shape[-1]}: set it to the '
                "neck's output width.")
        return self.layers(x.to(self.layers[0].weight.dtype))
