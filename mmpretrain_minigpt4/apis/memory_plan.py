# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""How much memory a model will take, told from its config alone.

Weights are counted on the ``meta`` device, which holds no numbers; the rest
follows from the shapes of what is alive at the worst moment.

Legend: B rows, N image tokens, D their width, F width inside the vision
MLPs, Q visual tokens, T tokens of a prompt, E width of the language model, I
width inside its MLPs, V vocabulary, s bytes of a number.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .. import zoo
from ..errors import ConfigError
from ..llm.quantization.methods import METHODS
from ..ops import kernels
from ..registry import MODELS

# Name of a row: the type of numbers, and how the LLM's weights are kept.
PRECISIONS = {
    'fp32': (4, 'none'),
    'bf16': (2, 'none'),
    'int8': (2, 'int8'),
    'int4': (2, 'int4'),
}
# Language models by the width that a projection gives, for configs whose
# folder is not there: LLaMA 7B and 13B.
# Source: LLaMA (arXiv:2302.13971) table 2.
KNOWN_LLMS = {
    4096: dict(hidden_size=4096, intermediate_size=11008,
               num_hidden_layers=32, num_attention_heads=32),
    5120: dict(hidden_size=5120, intermediate_size=13824,
               num_hidden_layers=40, num_attention_heads=40),
}
PROMPT_TEXT = 48  # tokens of template and instruction, without the image
# What generation/llama_decoder.py makes room for at a time.
BLOCK = 64
AHEAD = 8 * BLOCK


@dataclass(frozen=True)
class Plan:
    """What one precision needs, in bytes.

    Attributes:
        precision: A key of ``PRECISIONS``.
        weights: Of all parts.
        cache: Keys and values of all rows.
        activations: Of the worst moment.
        training: Gradients and optimizer state of what is trained.
    """
    precision: str
    weights: int
    cache: int
    activations: int
    training: int = 0

    @property
    def total(self) -> int:
        """Bytes in all."""
        return self.weights + self.cache + self.activations + self.training

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dict(asdict(self), total=self.total)


def build_empty(config: str | Path | Mapping,
                llm: str | None = None) -> nn.Module:
    """A model on the ``meta`` device.

    Args:
        config: A name in the zoo or of a file in ``configs/minigpt4``, the
            path of a config file, or the model's settings.
        llm: Folder of the language model, of which only ``config.json`` is
            read. Without one, and where the config's own folder is not
            there, LLaMA's sizes are taken by the projection's width.

    Raises:
        ConfigError: If there is no such config, or its language model is
            unknown.
    """
    model = dict(_settings(config))
    head = dict(model['head'])
    named = llm or head.get('llm')
    if llm is None and isinstance(named, str) and not _is_there(named):
        width = model['projector'].get('out_channels')
        if width not in KNOWN_LLMS:
            raise ConfigError(
                f'There is no language model at {named!r}, and none of width '
                f'{width} is known by heart: name its folder by --llm; only '
                'its config.json is read.')
        named = dict(config=dict(
            KNOWN_LLMS[width], model_type='llama', vocab_size=32000,
            max_position_embeddings=2048))
    head.update(llm=named, quantization='none', dtype='float32')
    model.update(head=head, dtype='float32', checkpoints=None)
    with torch.device('meta'):
        return MODELS.build(model)


def plan(model: nn.Module, precision: str, *, batch: int = 1,
         tokens: int = 300, beams: int = 1, cpu: bool = False,
         train: bool = False, checkpointing: bool = False) -> Plan:
    """Count what a model needs in one precision.

    Answering counts images that are encoded while rows are decoded, as in an
    evaluation. Training counts a step; MiniGPT-4 trains the projection, in
    float32, with AdamW.

    Args:
        model: On any device; of float32 parameters, unquantised.
        precision: A key of ``PRECISIONS``.
        batch: Rows at a time, one image each.
        tokens: New tokens of an answer; of text in a training sample.
        beams: Beams of each row.
        cpu: On a CPU rather than on a GPU.
        train: Training rather than answering.
        checkpointing: Recompute each layer of the language model.
    """
    size, quantization = PRECISIONS[precision]
    shape = Shapes.of(model)
    seen = _vision(shape, batch, size, cpu)
    weights = _weights(model, size, quantization)
    trained = sum(x.numel() for x in model.parameters() if x.requires_grad)
    if train:
        kept = _training_step(shape, batch, tokens, size, checkpointing)
        return Plan(precision, weights, 0, max(seen, kept), 12 * trained)
    prompt = PROMPT_TEXT + shape.queries
    capacity = cache_length(prompt, tokens * beams)
    cache = (2 * shape.layers * batch * capacity * shape.kv_width * size)
    return Plan(precision, weights, cache,
                max(seen, _decoding(shape, batch, prompt, capacity, beams,
                                    size, cpu)))


@dataclass(frozen=True)
class Shapes:
    """The numbers of a model that memory depends on."""

    pixels: int
    image_tokens: int
    vision_width: int
    vision_inner: int
    vision_heads: int
    queries: int
    width: int
    inner: int
    layers: int
    heads: int
    kv_width: int
    vocabulary: int

    @classmethod
    def of(cls, model: nn.Module) -> Shapes:
        """Read them off a model."""
        vision, config = model.backbone, model.head.llm.config
        image_tokens = vision.pos_embed.shape[1]
        neck = model.neck
        queries = image_tokens - 1
        if hasattr(neck, 'query_tokens'):
            queries = neck.query_tokens.shape[1]
        elif neck is not None:
            queries //= getattr(neck, 'num_patches', 1)
        heads = config.num_attention_heads
        head_width = getattr(config, 'head_dim', None) or (
            config.hidden_size // heads)
        kv_heads = getattr(config, 'num_key_value_heads', None) or heads
        return cls(
            pixels=3 * vision.img_size**2,
            image_tokens=image_tokens,
            vision_width=vision.embed_dims,
            vision_inner=vision.blocks[0].mlp.fc1.out_features,
            vision_heads=vision.blocks[0].attn.num_heads,
            queries=queries,
            width=config.hidden_size,
            inner=config.intermediate_size,
            layers=config.num_hidden_layers,
            heads=heads,
            kv_width=kv_heads * head_width,
            vocabulary=config.vocab_size)


def cache_length(prompt: int, tokens: int) -> int:
    """Entries that the decoding engine keeps for a row at the end."""
    first = max(-(-prompt // BLOCK) * BLOCK,
                min(prompt + tokens, prompt + AHEAD))
    while first < prompt + tokens:
        first *= 2
    return first


def _weights(model: nn.Module, size: int, quantization: str) -> int:
    total = 0.
    method = METHODS.get(quantization)
    layers = set()
    if method is not None:
        for layer in model.head.llm.get_decoder().layers.modules():
            if isinstance(layer, nn.Linear):
                layers.add(id(layer.weight))
                total += layer.out_features * (
                    layer.in_features * method.bits + method.row_bits) / 8
    for parameter in model.parameters():
        if id(parameter) not in layers:
            # What is trained stays in float32.
            total += parameter.numel() * (
                4 if parameter.requires_grad else size)
    return int(total)


def _vision(shape: Shapes, batch: int, size: int, cpu: bool) -> int:
    n, width = shape.image_tokens, shape.vision_width
    # Input, its norm, queries, keys and values, what was mixed, and a copy.
    attention = 7 * n * width
    if cpu and size == 2 and not _has_kernels():  # nor a fused operator
        attention = 8 * n * width + 2 * shape.vision_heads * n * n
    # Input, its norm, and what is inside before and after GELU.
    mlp = 2 * n * width + 2 * n * shape.vision_inner
    images = shape.pixels * 4 + (shape.pixels * size if size != 4 else 0)
    return batch * (images + size * max(attention, mlp))


def _decoding(shape: Shapes, batch: int, prompt: int, capacity: int,
              beams: int, size: int, cpu: bool) -> int:
    # Prompts alone and side by side, the hidden state and its norm; the gate
    # before and after its product with the other half.
    reading = batch * prompt * size * (4 * shape.width + 3 * shape.inner)
    rows = batch * beams
    step = rows * size * (6 * shape.width + 3 * shape.inner)
    if cpu and size == 2 and not _has_kernels():
        # Keys and values are brought together for a plain product.
        step += batch * capacity * size * (
            2 * shape.kv_width + 2 * beams * shape.heads)
    # Logits in float32, and what sampling makes of them.
    return max(reading, step) + 3 * 4 * rows * shape.vocabulary


def _has_kernels() -> bool:
    """Whether attention on this CPU keeps neither scores nor copies."""
    return kernels.available('cpu', torch.bfloat16) is not None


def _training_step(shape: Shapes, batch: int, tokens: int, size: int,
                   checkpointing: bool) -> int:
    row = shape.queries + tokens
    # What a frozen layer keeps for the gradient of its input: queries, keys,
    # values and their mix; both norms' inputs, in float32; the gate, its
    # activation and the other half.
    layer = 4 * shape.width * size + 8 * shape.width + 3 * shape.inner * size
    kept = shape.layers * layer
    if checkpointing:
        kept = shape.layers * shape.width * size + layer
    kept += layer  # the gradients inside one layer, on the way back
    # Logits of the text, in float32 too, their softmax and its gradient.
    logits = (tokens + 1) * shape.vocabulary * (size + 12)
    return batch * (row * kept + logits)


def _settings(config: str | Path | Mapping) -> Mapping:
    if isinstance(config, Mapping):
        return config
    name = str(config)
    if name.endswith('.py') and Path(name).is_file():
        path = Path(name)
    else:
        found = {entry.name: entry.config for entry in zoo.entries()}
        path = found.get(name.lower())
        if path is None:
            try:
                path = zoo.config_path(name)
            except FileNotFoundError as error:
                raise ConfigError(str(error)) from error
    cfg = zoo.read_config(path)
    kind = str((cfg.get('model') or {}).get('type', ''))
    if not kind.startswith('mmpretrain_minigpt4.'):
        raise ConfigError(f'{name} holds no model of this package.')
    return cfg.model.to_dict()


def _is_there(folder: str) -> bool:
    from ..assets import resolve
    return (Path(resolve(folder)).expanduser() / 'config.json').is_file()
