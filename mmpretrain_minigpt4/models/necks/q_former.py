# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Q-Former: a few learned queries that read the image tokens.

Letters of shapes: B images, Q queries, C their width, N image tokens, D their
width, h heads, L any number of tokens.
"""

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from ...errors import ConfigError
from ...ops import attention, linear_gelu
from ...registry import MODELS

# Source: BERT and BLIP-2 initialise every matrix alike.
INIT_STD = 0.02


class Attention(nn.Module):
    """Multi-head attention of queries over a context.

    Args:
        embed_dims: Width C of the queries and of the output.
        num_heads: Number h of heads.
        context_dims: Width of the context's tokens.
        dropout: Probability of dropping an attention weight in training.
    """

    def __init__(self, embed_dims: int, num_heads: int, context_dims: int,
                 dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.dropout = dropout
        self.q = nn.Linear(embed_dims, embed_dims)
        self.k = nn.Linear(context_dims, embed_dims)
        self.v = nn.Linear(context_dims, embed_dims)
        self.proj = nn.Linear(embed_dims, embed_dims)

    def split(self, x: Tensor) -> Tensor:
        """Part the heads: [B, L, C] -> [B, h, L, C/h]."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Let ``float[B, Q, C]`` read ``float[B, L, context_dims]``."""
        out = attention(
            self.split(self.q(x)),
            self.split(self.k(context)),
            self.split(self.v(context)),
            dropout=self.dropout if self.training else 0.0)
        # [B, h, Q, C/h] -> [B, Q, C]
        return self.proj(out.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Two linear layers with GELU between, on each query alone.

    Args:
        embed_dims: Width C of the queries.
        feedforward_channels: Width inside.
    """

    def __init__(self, embed_dims: int, feedforward_channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(embed_dims, feedforward_channels)
        self.fc2 = nn.Linear(feedforward_channels, embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``float[B, Q, C]`` to ``float[B, Q, C]``."""
        return self.fc2(linear_gelu(self.fc1, x))


class Layer(nn.Module):
    """One post-norm BERT layer, with cross-attention to the image or not.

    Args:
        embed_dims: Width C of the queries.
        num_heads: Number h of heads.
        feedforward_channels: Width inside the MLP.
        encoder_dims: Width D of the image tokens; None for a layer that does
            not look at the image.
        norm_eps: Epsilon of the LayerNorms.
        dropout: Dropout probability in training.
    """

    def __init__(self, embed_dims: int, num_heads: int,
                 feedforward_channels: int, encoder_dims: int | None,
                 norm_eps: float, dropout: float) -> None:
        super().__init__()
        self.attn = Attention(embed_dims, num_heads, embed_dims, dropout)
        self.attn_norm = nn.LayerNorm(embed_dims, eps=norm_eps)
        self.has_cross_attn = encoder_dims is not None
        if encoder_dims is not None:
            self.cross_attn = Attention(embed_dims, num_heads, encoder_dims,
                                        dropout)
            self.cross_norm = nn.LayerNorm(embed_dims, eps=norm_eps)
        self.mlp = Mlp(embed_dims, feedforward_channels)
        self.mlp_norm = nn.LayerNorm(embed_dims, eps=norm_eps)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, image: Tensor) -> Tensor:
        """Map ``float[B, Q, C]`` to the same, given ``float[B, N, D]``."""
        x = self.attn_norm(x + self.dropout(self.attn(x, x)))
        if self.has_cross_attn:
            x = self.cross_norm(x + self.dropout(self.cross_attn(x, image)))
        return self.mlp_norm(x + self.dropout(self.mlp(x)))


@MODELS.register_module()
class QFormer(BaseModule):
    """BLIP-2's querying transformer without its text path.

    MiniGPT-4 gives it no text, so it has no word or position embeddings and
    no feed-forward layers for text: checkpoints that hold them lose them.

    Args:
        num_queries: Number Q of learned queries, and so of visual tokens.
        embed_dims: Width C of the queries.
        num_layers: Number of layers.
        num_heads: Number h of heads.
        feedforward_channels: Width inside the MLPs.
        encoder_dims: Width D of the image tokens.
        cross_attention_frequency: Every such layer, from the first, looks at
            the image.
        norm_eps: Epsilon of the LayerNorms.
        dropout: Dropout probability; acts in training mode only.
        init_cfg: mmengine's initialisation config.

    Raises:
        ConfigError: If the heads do not divide the width.

    Source: BLIP-2 (arXiv:2301.12597) section 3.1.
    """

    def __init__(self,
                 num_queries: int = 32,
                 embed_dims: int = 768,
                 num_layers: int = 12,
                 num_heads: int = 12,
                 feedforward_channels: int = 3072,
                 encoder_dims: int = 1408,
                 cross_attention_frequency: int = 2,
                 norm_eps: float = 1e-12,
                 dropout: float = 0.1,
                 init_cfg: dict | None = None) -> None:
        if embed_dims % num_heads:
            raise ConfigError(
                f'QFormer: embed_dims={embed_dims} cannot be split among '
                f'num_heads={num_heads}; choose heads that divide it.')
        super().__init__(init_cfg)
        self.encoder_dims = encoder_dims
        self.query_tokens = nn.Parameter(
            torch.empty(1, num_queries, embed_dims))
        self.norm = nn.LayerNorm(embed_dims, eps=norm_eps)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            Layer(embed_dims, num_heads, feedforward_channels,
                  None if i % cross_attention_frequency else encoder_dims,
                  norm_eps, dropout) for i in range(num_layers))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new weights: truncated normal matrices, zero biases."""
        for module in self.modules():
            if isinstance(module, nn.LayerNorm):
                module.reset_parameters()
            elif isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=INIT_STD)
                nn.init.zeros_(module.bias)
        nn.init.trunc_normal_(self.query_tokens, std=INIT_STD)

    def forward(self, feats: tuple[Tensor, ...]) -> tuple[Tensor]:
        """Read the image tokens.

        Args:
            feats: The backbone's output; its last ``float[B, N, D]`` is read.

        Returns:
            A tuple of one tensor, ``float[B, Q, C]``.

        Raises:
            ConfigError: If the image tokens are of another width.
        """
        image = feats[-1].to(self.query_tokens.dtype)
        if image.shape[-1] != self.encoder_dims:
            raise ConfigError(
                f'QFormer was built for image tokens of width encoder_dims='
                f'{self.encoder_dims} and got {image.shape[-1]}: set it to '
                "the backbone's embed_dims.")
        x = self.query_tokens.expand(len(image), -1, -1)  # [B, Q, C]
        x = self.dropout(self.norm(x))
        for layer in self.layers:
            x = layer(x, image)
        return (x, )
