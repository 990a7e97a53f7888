# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""EVA-ViT: the frozen image encoder of BLIP-2 and MiniGPT-4.

Letters of shapes: B images, H and W pixels, P patch side, G patches a side,
N = 1 + G * G tokens (CLS first), D width, h heads, F width inside the MLP.
"""

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from ...errors import ConfigError
from ...ops import attention, linear, linear_gelu
from ...registry import MODELS

# Source: BLIP-2 and EVA initialise every matrix alike.
INIT_STD = 0.02


class Attention(nn.Module):
    """Self-attention whose keys have no bias.

    A bias on the keys adds the same number to all scores of a query, so
    softmax would take it out again: EVA keeps two biases, not three.

    Args:
        embed_dims: Width D of the tokens.
        num_heads: Number h of heads.
    """

    def __init__(self, embed_dims: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(embed_dims, 3 * embed_dims, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(embed_dims))
        self.v_bias = nn.Parameter(torch.zeros(embed_dims))
        self.proj = nn.Linear(embed_dims, embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        """Mix the tokens: ``float[B, N, D]`` to ``float[B, N, D]``."""
        b, n, d = x.shape
        bias = torch.cat(
            (self.q_bias, torch.zeros_like(self.q_bias), self.v_bias))
        # [B, N, 3D] -> [B, N, 3, h, D/h] -> three of [B, h, N, D/h]
        q, k, v = linear(self.qkv, x, bias).view(
            b, n, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        x = attention(q, k, v)
        x = x.transpose(1, 2).reshape(b, n, d)  # heads side by side again
        return self.proj(x)


class Mlp(nn.Module):
    """Two linear layers with GELU between, on each token alone.

    Args:
        embed_dims: Width D of the tokens.
        feedforward_channels: Width F inside.
    """

    def __init__(self, embed_dims: int, feedforward_channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(embed_dims, feedforward_channels)
        self.fc2 = nn.Linear(feedforward_channels, embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``float[B, N, D]`` to ``float[B, N, D]``."""
        return self.fc2(linear_gelu(self.fc1, x))


class Block(nn.Module):
    """One pre-norm transformer block.

    Args:
        embed_dims: Width D of the tokens.
        num_heads: Number h of heads.
        feedforward_channels: Width F inside the MLP.
        norm_eps: Epsilon of both LayerNorms.
    """

    def __init__(self, embed_dims: int, num_heads: int,
                 feedforward_channels: int, norm_eps: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(embed_dims, eps=norm_eps)
        self.attn = Attention(embed_dims, num_heads)
        self.norm2 = nn.LayerNorm(embed_dims, eps=norm_eps)
        self.mlp = Mlp(embed_dims, feedforward_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``float[B, N, D]`` to ``float[B, N, D]``."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Float32LayerNorm(nn.LayerNorm):
    """A LayerNorm that computes in float32 and returns its input's dtype."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``float[..., D]`` to ``float[..., D]``."""
        out = F.layer_norm(x.float(), self.normalized_shape,
                           self.weight.float(), self.bias.float(), self.eps)
        return out.to(x.dtype)


@MODELS.register_module()
class EVAViT(BaseModule):
    """The vision transformer, with BLIP-2's ``ln_vision`` at its end.

    The defaults are EVA-ViT-g/14 as BLIP-2 uses it: 39 of EVA's 40 blocks,
    no final norm and no head of its own, all 257 tokens returned.

    Args:
        img_size: Side of the square input in pixels.
        patch_size: Side P of a patch in pixels.
        in_channels: Colour channels of the input.
        embed_dims: Width D of the tokens.
        num_layers: Number of blocks.
        num_heads: Number h of heads.
        feedforward_channels: Width F inside the MLPs.
        norm_eps: Epsilon of the LayerNorms inside the blocks.
        out_norm_eps: Epsilon of ``ln_vision``.
        init_cfg: mmengine's initialisation config.

    Raises:
        ConfigError: If sides or widths do not divide.

    Source: BLIP-2 (arXiv:2301.12597) section 3; EVA (arXiv:2211.07636).
    """

    def __init__(self,
                 img_size: int = 224,
                 patch_size: int = 14,
                 in_channels: int = 3,
                 embed_dims: int = 1408,
                 num_layers: int = 39,
                 num_heads: int = 16,
                 feedforward_channels: int = 6144,
                 norm_eps: float = 1e-6,
                 out_norm_eps: float = 1e-5,
                 init_cfg: dict | None = None) -> None:
        if img_size % patch_size:
            raise ConfigError(
                f'EVAViT: img_size={img_size} is not a multiple of '
                f'patch_size={patch_size}; the nearest that is: '
                f'{max(1, round(img_size / patch_size)) * patch_size}.')
        if embed_dims % num_heads:
            raise ConfigError(
                f'EVAViT: embed_dims={embed_dims} cannot be split among '
                f'num_heads={num_heads}; choose heads that divide it.')
        super().__init__(init_cfg)
        self.img_size = img_size
        self.embed_dims = embed_dims
        num_tokens = 1 + (img_size // patch_size)**2
        self.patch_embed = nn.Conv2d(
            in_channels, embed_dims, patch_size, stride=patch_size)
        self.cls_token = nn.Parameter(torch.empty(1, 1, embed_dims))
        self.pos_embed = nn.Parameter(torch.empty(1, num_tokens, embed_dims))
        self.blocks = nn.ModuleList(
            Block(embed_dims, num_heads, feedforward_channels, norm_eps)
            for _ in range(num_layers))
        self.ln_vision = Float32LayerNorm(embed_dims, eps=out_norm_eps)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new weights: truncated normal matrices, zero biases."""
        for module in self.modules():
            if isinstance(module, nn.LayerNorm):
                module.reset_parameters()
            elif isinstance(module, (nn.Linear, nn.Conv2d)):
                nn.init.trunc_normal_(module.weight, std=INIT_STD)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, Attention):
                nn.init.zeros_(module.q_bias)
                nn.init.zeros_(module.v_bias)
        nn.init.trunc_normal_(self.cls_token, std=INIT_STD)
        nn.init.trunc_normal_(self.pos_embed, std=INIT_STD)

    def forward(self, images: Tensor) -> tuple[Tensor]:
        """Encode images.

        Args:
            images: ``float[B, 3, H, W]``, normalised, H = W = ``img_size``.

        Returns:
            A tuple of one tensor, ``float[B, N, D]``, CLS token first.

        Raises:
            ConfigError: If the images are of another size.
        """
        if images.dim() != 4 or images.shape[-2:] != (self.img_size, ) * 2:
            raise ConfigError(
                f'EVAViT was built for images of [B, 3, {self.img_size}, '
                f'{self.img_size}] and got {list(images.shape)}: resize in '
                'the pipeline, or build it with another img_size.')
        x = self.patch_embed(images.to(self.patch_embed.weight.dtype))
        x = x.flatten(2).transpose(1, 2)  # [B, D, G, G] -> [B, G * G, D]
        cls_token = self.cls_token.expand(len(x), -1, -1)
        x = torch.cat((cls_token, x), dim=1)  # [B, N, D]
        x = x + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return (self.ln_vision(x), )
