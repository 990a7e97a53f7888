# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""A tiny model and its weights written in each layout by hand.

The key lists here are written from the published files, not derived from the
tables under test: a table that forgets a key fails.
"""

import pytest
import torch
from torch import Tensor, nn

from mmpretrain_minigpt4.models.backbones import EVAViT
from mmpretrain_minigpt4.models.necks import LinearProjector, QFormer

D, F, Q, C, M, E = 16, 24, 3, 8, 12, 20  # widths; Q queries, E of the LLM
LAYERS = 2


def build_tiny(out_channels: int = E, neck: bool = True) -> nn.Module:
    """The trunk of a MiniGPT4 with native names, without a head."""
    parts = {
        'backbone':
        EVAViT(
            img_size=28,
            patch_size=7,
            embed_dims=D,
            num_layers=LAYERS,
            num_heads=2,
            feedforward_channels=F),
        'neck':
        QFormer(
            num_queries=Q,
            embed_dims=C,
            num_layers=LAYERS,
            num_heads=2,
            feedforward_channels=M,
            encoder_dims=D),
        'projector':
        LinearProjector(C, out_channels),
    }
    if not neck:
        del parts['neck']
    return nn.ModuleDict(parts)


def numbers(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Random tensors; a key that ends in `.*` stands for weight and bias."""
    tensors = {}
    for key, shape in shapes.items():
        if key.endswith('.*'):
            tensors[key[:-1] + 'weight'] = torch.randn(shape)
            tensors[key[:-1] + 'bias'] = torch.randn(shape[:1])
        else:
            tensors[key] = torch.randn(shape)
    return tensors


def eva(prefix: str = '', blocks: int = LAYERS) -> dict[str, Tensor]:
    shapes = {
        'cls_token': (1, 1, D),
        'pos_embed': (1, 17, D),
        'patch_embed.proj.*': (D, 3, 7, 7),
        'norm.*': (D, ),
        'head.*': (10, D),
        'fc_norm.*': (D, ),
    }
    for i in [*range(blocks), 39]:
        shapes.update({
            f'blocks.{i}.norm1.*': (D, ),
            f'blocks.{i}.norm2.*': (D, ),
            f'blocks.{i}.attn.q_bias': (D, ),
            f'blocks.{i}.attn.v_bias': (D, ),
            f'blocks.{i}.attn.qkv.weight': (3 * D, D),
            f'blocks.{i}.attn.proj.*': (D, D),
            f'blocks.{i}.mlp.fc1.*': (F, D),
            f'blocks.{i}.mlp.fc2.*': (D, F),
        })
    return numbers({prefix + key: shape for key, shape in shapes.items()})


def openmmlab_vit(prefix: str = '') -> dict[str, Tensor]:
    shapes = {
        'cls_token': (1, 1, D),
        'pos_embed': (1, 17, D),
        'patch_embed.projection.*': (D, 3, 7, 7),
    }
    for i in range(LAYERS):
        shapes.update({
            f'layers.{i}.ln1.*': (D, ),
            f'layers.{i}.ln2.*': (D, ),
            f'layers.{i}.attn.q_bias': (D, ),
            f'layers.{i}.attn.v_bias': (D, ),
            f'layers.{i}.attn.qkv.weight': (3 * D, D),
            f'layers.{i}.attn.proj.*': (D, D),
            f'layers.{i}.ffn.layers.0.0.*': (F, D),
            f'layers.{i}.ffn.layers.1.*': (D, F),
        })
    return numbers({prefix + key: shape for key, shape in shapes.items()})


def qformer(prefix: str, inner: str, text: bool) -> dict[str, Tensor]:
    """BERT layers; `inner` is `self` in LAVIS, `attention` in transformers."""
    shapes = {}
    for i in range(LAYERS):
        layer = f'{prefix}encoder.layer.{i}.'
        for attention, width in (('attention', C), ('crossattention', D)):
            if attention == 'crossattention' and i % 2:
                continue
            shapes.update({
                f'{layer}{attention}.{inner}.query.*': (C, C),
                f'{layer}{attention}.{inner}.key.*': (C, width),
                f'{layer}{attention}.{inner}.value.*': (C, width),
                f'{layer}{attention}.output.dense.*': (C, C),
                f'{layer}{attention}.output.LayerNorm.*': (C, ),
            })
        for path in ('', '_query') if text else ('_query', ):
            shapes.update({
                f'{layer}intermediate{path}.dense.*': (M, C),
                f'{layer}output{path}.dense.*': (C, M),
                f'{layer}output{path}.LayerNorm.*': (C, ),
            })
    return numbers(shapes)


def blip2() -> dict[str, Tensor]:
    return {
        **numbers({
            'query_tokens': (1, Q, C),
            'ln_vision.*': (D, ),
            't5_proj.*': (99, C),
            'Qformer.bert.embeddings.LayerNorm.*': (C, ),
            'Qformer.bert.embeddings.word_embeddings.weight': (30, C),
            'Qformer.bert.embeddings.position_embeddings.weight': (9, C),
            'Qformer.cls.predictions.transform.dense.*': (C, C),
            'Qformer.cls.predictions.bias': (30, ),
        }),
        'Qformer.bert.embeddings.position_ids':
        torch.arange(9)[None],
        **qformer('Qformer.bert.', 'self', text=True),
    }


def openmmlab_qformer() -> dict[str, Tensor]:
    return {
        **numbers({
            'query_tokens': (1, Q, C),
            'ln_vision.*': (D, ),
            'q_former.bert.embeddings.LayerNorm.*': (C, ),
        }),
        'q_former.bert.embeddings.position_ids':
        torch.arange(9)[None],
        **qformer('q_former.bert.', 'self', text=False),
    }


def projection(out_channels: int = E) -> dict[str, Tensor]:
    return numbers({'llama_proj.*': (out_channels, C)})


@pytest.fixture
def tiny() -> nn.Module:
    return build_tiny()
