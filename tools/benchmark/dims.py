# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The sizes that are measured, and both models' configs from one size."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from mmpretrain_minigpt4.errors import ConfigError


@dataclass(frozen=True)
class Part:
    """A stack of transformer layers.

    Attributes:
        width: Numbers a token.
        inner: Width inside the MLP.
        layers: Number of layers.
        heads: Number of attention heads.
    """
    width: int
    inner: int
    layers: int
    heads: int


@dataclass(frozen=True)
class Dims:
    """The size of a whole model.

    Attributes:
        name: What the command line calls it.
        vision: The image encoder.
        qformer: The Q-Former; every second layer reads the image.
        llm: The language model.
        vocab: Its vocabulary; at least the 640 tokens of the tokenizer that
            ships with the package, and one more that stands for images.
        img_size: Side of an image in pixels.
        patch_size: Side of a patch in pixels.
        queries: Visual tokens of an image.
        context: Tokens of prompt and answer that the LLM can hold.
    """
    name: str
    vision: Part
    qformer: Part
    llm: Part
    vocab: int
    img_size: int = 224
    patch_size: int = 14
    queries: int = 32
    context: int = 2048

    @property
    def image_tokens(self) -> int:
        """Tokens of an image inside the encoder, CLS included."""
        return 1 + (self.img_size // self.patch_size)**2

    @property
    def image_id(self) -> int:
        """The token id that stands for a visual token in the peers."""
        return self.vocab - 1

    def to_dict(self) -> dict:
        """Plain values, for a JSON line."""
        return asdict(self)


DIMS = {
    dims.name: dims
    for dims in (
        # For tests: all of the graph in milliseconds.
        Dims('tiny', Part(32, 48, 2, 2), Part(24, 32, 2, 2),
             Part(32, 48, 2, 2), 704, img_size=28, queries=4),
        # 49 M parameters; the head dim 88 of EVA-ViT-g is kept.
        Dims('bench', Part(352, 1536, 10, 4), Part(192, 768, 6, 3),
             Part(512, 1376, 8, 8), 4096),
        Dims('7b', Part(1408, 6144, 39, 16), Part(768, 3072, 12, 12),
             Part(4096, 11008, 32, 32), 32000),
        Dims('13b', Part(1408, 6144, 39, 16), Part(768, 3072, 12, 12),
             Part(5120, 13824, 40, 40), 32000),
    )
}


def get_dims(name: str) -> Dims:
    """A size by its name.

    Raises:
        ConfigError: If there is no such size.
    """
    if name not in DIMS:
        raise ConfigError(f'There is no size {name!r}; known: '
                          f'{", ".join(DIMS)}.')
    return DIMS[name]


def llama_settings(dims: Dims) -> dict:
    """Settings of transformers' LlamaConfig, without an end token."""
    return dict(
        vocab_size=dims.vocab,
        hidden_size=dims.llm.width,
        intermediate_size=dims.llm.inner,
        num_hidden_layers=dims.llm.layers,
        num_attention_heads=dims.llm.heads,
        num_key_value_heads=dims.llm.heads,
        max_position_embeddings=dims.context,
        rms_norm_eps=1e-6,
        bos_token_id=1,
        eos_token_id=None,
        pad_token_id=0)


def our_config(dims: Dims, dtype: str, **head) -> dict:
    """The config of our model with random weights.

    Its template knows no text that ends an answer, so that lengths are
    fixed.

    Args:
        dims: The size.
        dtype: Type of the frozen parts.
        head: More settings of the head.
    """
    ours = 'mmpretrain_minigpt4.'
    return dict(
        type=ours + 'MiniGPT4',
        dtype=dtype,
        backbone=dict(
            type=ours + 'EVAViT',
            img_size=dims.img_size,
            patch_size=dims.patch_size,
            embed_dims=dims.vision.width,
            num_layers=dims.vision.layers,
            num_heads=dims.vision.heads,
            feedforward_channels=dims.vision.inner),
        neck=dict(
            type=ours + 'QFormer',
            num_queries=dims.queries,
            embed_dims=dims.qformer.width,
            num_layers=dims.qformer.layers,
            num_heads=dims.qformer.heads,
            feedforward_channels=dims.qformer.inner,
            encoder_dims=dims.vision.width),
        projector=dict(
            type=ours + 'LinearProjector',
            in_channels=dims.qformer.width,
            out_channels=dims.llm.width),
        head=dict(
            type=ours + 'VicunaHead',
            llm=dict(
                config=dict(model_type='llama', **llama_settings(dims)),
                tokenizer='asset://tiny/llm'),
            template=dict(
                prompt='###Human: {} ###Assistant: ', end='###', stops=()),
            dtype=dtype,
            **head))


def blip2_config(dims: Dims):
    """The same graph as a config of transformers."""
    from transformers import (
        Blip2Config,
        Blip2QFormerConfig,
        Blip2VisionConfig,
        LlamaConfig,
    )
    return Blip2Config(
        vision_config=Blip2VisionConfig(
            hidden_size=dims.vision.width,
            intermediate_size=dims.vision.inner,
            num_hidden_layers=dims.vision.layers,
            num_attention_heads=dims.vision.heads,
            image_size=dims.img_size,
            patch_size=dims.patch_size),
        qformer_config=Blip2QFormerConfig(
            hidden_size=dims.qformer.width,
            intermediate_size=dims.qformer.inner,
            num_hidden_layers=dims.qformer.layers,
            num_attention_heads=dims.qformer.heads,
            encoder_hidden_size=dims.vision.width),
        text_config=LlamaConfig(**llama_settings(dims)),
        num_query_tokens=dims.queries,
        image_token_index=dims.image_id)
