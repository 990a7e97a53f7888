# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The forward pass of LLaMA-like models over a preallocated cache.

The weights stay in the modules of transformers, which may be plain,
prepacked, quantised or adapted; only the way through them is our own. It
spares most of what a step costs in Python there.

Legend: B rows, T new tokens a row, S tokens of all rows, N entries seen, E
width of the model, H heads, K key-value heads, D width of a head, V
vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F

from ..ops import attention, fused_forward, fused_linears, hide_later, kernels
from ..ops.transfer import tensor_to_device
from .fused_layers import fused_layers
from .kv_cache import KVCache, write

# Models of these classes are built alike.
FAMILY = ('LlamaForCausalLM', 'MistralForCausalLM', 'Qwen2ForCausalLM')
LAYERS = ('LlamaDecoderLayer', 'MistralDecoderLayer', 'Qwen2DecoderLayer')
# Layers of theirs that read the same input.
FUSED_GROUPS = (('q_proj', 'k_proj', 'v_proj'), ('gate_proj', 'up_proj'))
# Rotary positions whose angles do not depend on the length of the text.
FIXED_ROTARY = ('default', 'linear', 'llama3', 'yarn')


class Placement(NamedTuple):
    """Where new tokens stand and what they see.

    ``rows`` are B neighbouring slots; ``entries`` as of
    :func:`~.kv_cache.write`; ``positions`` int[B, T]; ``stop`` is N; ``bias``
    is float[B, 1, T, N], minus infinity where a token may not look, or None
    where it sees everything; ``causal`` says that each new token sees itself
    and the new tokens before it, and that there is nothing older; with
    ``before``, int[B], there are so many older entries, all seen;
    ``lengths``, int[B], are the entries of each row, if the new tokens see
    no others, but for the bias.
    """
    rows: slice
    entries: torch.Tensor | int
    positions: torch.Tensor
    stop: int
    bias: torch.Tensor | None = None
    causal: bool = False
    before: torch.Tensor | None = None
    lengths: torch.Tensor | None = None


class Llama:
    """Runs a LLaMA-like model of transformers.

    Args:
        llm: A model that :meth:`fits`.
        use_kernels: Whether fused kernels are used, where they work.
    """

    def __init__(self, llm: torch.nn.Module, use_kernels: bool = True
                 ) -> None:
        base = llm.model
        config = llm.config
        self.embed = llm.get_input_embeddings()
        self.lm_head = llm.lm_head
        self.layers = base.layers
        self.norm = base.norm
        self.rotary = base.rotary_emb
        self.num_layers = config.num_hidden_layers
        self.num_heads = config.num_attention_heads
        self.num_kv_heads = getattr(config, 'num_key_value_heads',
                                    None) or self.num_heads
        self.head_dims = getattr(
            config, 'head_dim', None) or config.hidden_size // self.num_heads
        self._rope_table = None
        with kernels.disabled(not use_kernels):
            # Whether a step or a prompt on a CPU goes through kernels; those
            # of GPUs are for steps of static shapes.
            self.fused = kernels.available(self.device, self.dtype) == 'native'

    @staticmethod
    def fits(llm: torch.nn.Module) -> bool:
        """Whether a model is built as this class expects."""
        if type(llm).__name__ not in FAMILY:
            return False
        if not all(map(_is_plain, llm.model.layers)):
            return False
        config = llm.config
        layers = getattr(config, 'layer_types', None) or []
        rotary = getattr(llm.model, 'rotary_emb', None)
        return (getattr(config, 'hidden_act', None) == 'silu'
                and all(kind == 'full_attention' for kind in layers)
                and (bool(layers)
                     or getattr(config, 'sliding_window', None) is None)
                and getattr(rotary, 'rope_type', None) in FIXED_ROTARY)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.embed.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """The type that it computes in."""
        return self.norm.weight.dtype

    def new_cache(self, num_slots: int) -> KVCache:
        """An empty cache of the model's own shape."""
        return KVCache(self.num_layers, num_slots, self.num_kv_heads,
                       self.head_dims, self.dtype, self.device)

    def __call__(self, embeds: torch.Tensor, cache: KVCache,
                 place: Placement) -> torch.Tensor:
        """Read new tokens, and keep their keys and values.

        Args:
            embeds: float[B, T, E].
            cache: Has room for the new entries.
            place: Where they go.

        Returns:
            float[B, T, E], what the head is to read.
        """
        held = cache.layers(place.rows, place.stop)
        if (self.fused and not torch.is_grad_enabled()
                and not torch.is_autocast_enabled('cpu')):
            return self._fused(embeds, held, place)
        bias, before = place.bias, place.before
        if bias is None and place.lengths is not None:
            before = place.lengths - embeds.shape[1]
        if before is not None:
            bias = hide_later(before, embeds.shape[1], place.stop, self.dtype)

        def attend(index: int, q: torch.Tensor, k: torch.Tensor,
                   v: torch.Tensor) -> torch.Tensor:
            keys, values = held[index]
            write(keys, place.entries, k)
            write(values, place.entries, v)
            mixed = attention(
                q.transpose(1, 2), keys, values, bias, place.causal)
            return mixed.transpose(1, 2)  # float[B, T, H, D]

        with kernels.disabled(not self.fused):
            return self._layers(embeds, place.positions, attend)

    def _fused(self, embeds: torch.Tensor,
               held: Sequence[tuple[torch.Tensor, torch.Tensor]],
               place: Placement) -> torch.Tensor:
        x = embeds.to(self.dtype)
        operators = kernels.operators(x.device, x.dtype)
        # float[B, T, D] each
        cos_sin = [
            table.squeeze(-2) for table in self._cos_sin(place.positions)
        ]
        entries, bias = place.entries, place.bias
        if isinstance(entries, int):
            entries = torch.arange(entries, entries + x.shape[1]).expand(
                x.shape[:2])
        if bias is not None:
            bias = bias.squeeze(1)  # float[B, T, N], of beams

        def attend(index: int, qkv: torch.Tensor) -> torch.Tensor:
            keys, values = held[index]
            q = operators.apply_rope_and_write(
                qkv, *cos_sin, keys, values, entries, self.num_heads,
                self.num_kv_heads)
            if place.lengths is not None:
                return operators.decode_attention(
                    q, keys, values, place.lengths, bias)
            return attention(
                q.transpose(1, 2), keys, values, causal=place.causal,
                before=place.before).transpose(1, 2)

        return fused_layers(self, x, operators, attend)

    def read(self, embeds: torch.Tensor, lengths: Sequence[int],
             positions: torch.Tensor | None = None,
             bias: torch.Tensor | None = None) -> torch.Tensor:
        """Read whole texts without a cache, and without padding.

        The gradient flows through, to what is embedded and to whatever of
        the model is trained.

        Args:
            embeds: float[S, E], the tokens of all rows, row after row.
            lengths: How many of them each row has.
            positions: int[S]; by default each row's tokens are counted.
            bias: float[S, S] for an only row, minus infinity where a token
                may not look; by default it sees itself and those before.

        Returns:
            float[S, E], what the head is to read.
        """
        size, longest = len(lengths), max(lengths)
        starts = torch.arange(size) * longest
        # Each token's place in a padded batch, int[S].
        slots = torch.cat([
            torch.arange(length) + start
            for length, start in zip(lengths, starts, strict=True)
        ])
        even = size * longest == len(slots)
        slots = tensor_to_device(slots, embeds.device)
        if positions is None:
            positions = slots % longest

        def attend(index: int, q: torch.Tensor, k: torch.Tensor,
                   v: torch.Tensor) -> torch.Tensor:
            # Padding stands behind its row, where no token looks.
            q, k, v = (_pad(x, slots, size, longest, even)
                       for x in (q, k, v))
            mixed = attention(q, k, v, bias, causal=bias is None)
            # float[B, H, T, D] -> float[B * T, H, D]
            mixed = mixed.transpose(1, 2).flatten(0, 1)
            return mixed if even else mixed[slots]

        with kernels.disabled(not self.fused):
            return self._layers(embeds, positions, attend)

    def _layers(self, embeds: torch.Tensor, positions: torch.Tensor,
                attend: Callable) -> torch.Tensor:
        cos, sin = self._cos_sin(positions)
        x = embeds.to(self.dtype)
        for index, layer in enumerate(self.layers):
            mixer, mlp = layer.self_attn, layer.mlp
            h = _rms_norm(x, layer.input_layernorm)
            q, k, v = self._mixed(mixer, h, cos, sin)
            h = attend(index, q, k, v)
            x = x + mixer.o_proj(h.flatten(-2))
            h = _rms_norm(x, layer.post_attention_layernorm)
            gate, up = fused_linears((mlp.gate_proj, mlp.up_proj), h)
            x = x + mlp.down_proj(F.silu(gate) * up)
        return _rms_norm(x, self.norm)

    def _mixed(self, mixer: torch.nn.Module, h: torch.Tensor,
               cos: torch.Tensor, sin: torch.Tensor
               ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Queries and keys, turned, and values: float[..., heads, D] each."""
        layers = (mixer.q_proj, mixer.k_proj, mixer.v_proj)
        whole = fused_forward(layers, h)
        if whole is None:
            # float[..., H * D] -> float[..., H, D]
            q, k, v = (layer(h).unflatten(-1, (-1, self.head_dims))
                       for layer in layers)
            return _rotate(q, cos, sin), _rotate(k, cos, sin), v
        # float[..., (H + 2 K) * D] -> float[..., H + 2 K, D]
        qk, v = whole.unflatten(-1, (-1, self.head_dims)).tensor_split(
            (self.num_heads + self.num_kv_heads, ), dim=-2)
        q, k = _rotate(qk, cos, sin).tensor_split(
            (self.num_heads, ), dim=-2)
        return q, k, v

    def _cos_sin(self, positions: torch.Tensor
                 ) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and sines at positions, float[..., 1, D] each."""
        # On a GPU the largest position would have to be waited for, so the
        # table covers the whole context there.
        largest = (int(positions.max()) + 1 if positions.device.type == 'cpu'
                   else self.rotary.config.max_position_embeddings)
        return tuple(table[positions].unsqueeze(-2)
                     for table in self.rope(largest))

    def rope(self, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and signed sines of positions from 0 on, float[P, D] each.

        Args:
            number: P is at least this.
        """
        known = 0 if self._rope_table is None else self._rope_table[0].shape[0]
        if number > known:
            whole = torch.arange(
                max(number, 2 * known, 256), device=self.device)
            cos, sin = self.rotary(
                torch.empty(0, dtype=self.dtype, device=self.device),
                whole.unsqueeze(0))
            first, second = sin[0].chunk(2, dim=-1)
            # float[P, D] each
            self._rope_table = cos[0], torch.cat((-first, second), dim=-1)
        return self._rope_table


def _is_plain(layer: torch.nn.Module) -> bool:
    """Whether calling a layer does no more than its parts do.

    Sharding, offloading and recomputation hook into the call of a layer.
    """
    return (type(layer).__name__ in LAYERS and not layer._forward_hooks
            and not layer._forward_pre_hooks
            and 'forward' not in layer.__dict__)


def _pad(x: torch.Tensor, slots: torch.Tensor, size: int, longest: int,
         even: bool) -> torch.Tensor:
    """float[S, H, D] to float[B, H, T, D]."""
    if not even:
        x = x.new_zeros(size * longest, *x.shape[1:]).index_copy(0, slots, x)
    return x.unflatten(0, (size, longest)).transpose(1, 2)


def _rms_norm(x: torch.Tensor, norm: torch.nn.Module) -> torch.Tensor:
    return F.rms_norm(x, (x.shape[-1], ), norm.weight, norm.variance_epsilon)


def _rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor
            ) -> torch.Tensor:
    """Turn pairs (i, i + D / 2) of each head by their angles.

    The sines of the first half come with their sign changed.
    """
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin)
