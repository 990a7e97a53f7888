# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""What the machine allows: the least time of each job, from shapes alone.

A job costs multiplications and bytes; neither can go faster than the
ceilings that were measured on this machine, so that the longer of the two
times is a limit. Only what no implementation can avoid is counted: weights
once a step, keys and values once a step, no activations, no norms.

Letters: B rows, T tokens of a row, N new tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

from .dims import Dims


@dataclass(frozen=True)
class Ceilings:
    """What the machine can do at most.

    Attributes:
        flops: Multiplications and additions a second.
        bandwidth: Bytes of memory a second.
        dtype: The type that ``flops`` was measured in.
    """
    flops: float
    bandwidth: float
    dtype: str


@dataclass(frozen=True)
class Limit:
    """The least time of a job, and what sets it.

    Attributes:
        seconds: The time.
        by: ``arithmetic`` or ``memory``: what takes most of it.
    """
    seconds: float
    by: str

    def __add__(self, other: Limit) -> Limit:
        more = self if self.seconds >= other.seconds else other
        return Limit(self.seconds + other.seconds, more.by)


class Limits:
    """The limits of one size on one machine.

    Args:
        dims: The size.
        ceilings: The machine's.
        weight_bytes: Bytes of a weight of the language model: 4 for float32,
            2 for bfloat16, 1 for int8.
        number_bytes: Bytes of every other number.
    """

    def __init__(self, dims: Dims, ceilings: Ceilings,
                 weight_bytes: float = 2, number_bytes: float = 2) -> None:
        self.dims = dims
        self.ceilings = ceilings
        self.weight_bytes = weight_bytes
        self.number_bytes = number_bytes

    @property
    def layer_weights(self) -> int:
        """Weights of the LLM's layers that multiply each token."""
        llm = self.dims.llm
        return llm.layers * (4 * llm.width**2 + 3 * llm.width * llm.inner)

    @property
    def head_weights(self) -> int:
        """Weights between the LLM's last layer and its vocabulary."""
        return self.dims.llm.width * self.dims.vocab

    @property
    def cache_bytes(self) -> float:
        """Bytes of the keys and values of a token."""
        llm = self.dims.llm
        return 2 * llm.layers * llm.width * self.number_bytes

    def vision_flops(self) -> float:
        """Of one image, from pixels to visual tokens."""
        d, q = self.dims, self.dims.qformer
        n, width = d.image_tokens, d.vision.width
        patches = 2 * 3 * d.patch_size**2 * width * (n - 1)
        block = 2 * n * (4 * width**2 + 2 * width * d.vision.inner)
        block += 4 * n * n * width
        own = 2 * d.queries * 4 * q.width**2 + 4 * d.queries**2 * q.width
        own += 2 * d.queries * 2 * q.width * q.inner
        cross = 2 * d.queries * 2 * q.width**2 + 2 * n * 2 * width * q.width
        cross += 4 * d.queries * n * q.width
        project = 2 * d.queries * q.width * d.llm.width
        return (patches + d.vision.layers * block + q.layers * own +
                -(-q.layers // 2) * cross + project)

    def vision_weights(self) -> int:
        """Weights that an image meets."""
        d, q = self.dims, self.dims.qformer
        width = d.vision.width
        block = 4 * width**2 + 2 * width * d.vision.inner
        own = 4 * q.width**2 + 2 * q.width * q.inner
        cross = 2 * q.width**2 + 2 * width * q.width
        return (3 * d.patch_size**2 * width + d.vision.layers * block +
                q.layers * own + -(-q.layers // 2) * cross +
                q.width * d.llm.width)

    def attention_flops(self, queries: float, keys: float) -> float:
        """Of all layers, for one row."""
        return 4 * queries * keys * self.dims.llm.width * self.dims.llm.layers

    def vision(self, images: int) -> Limit:
        """To encode images at once."""
        return self._limit(images * self.vision_flops(),
                           self.vision_weights() * self.number_bytes)

    def prefill(self, rows: int, tokens: int) -> Limit:
        """To read prompts, with logits for each row's last token."""
        flops = rows * (2 * tokens * self.layer_weights +
                        2 * self.head_weights +
                        self.attention_flops(tokens, tokens / 2))
        return self._limit(flops, self._llm_bytes())

    def step(self, rows: int, context: float) -> Limit:
        """To write one token in each row."""
        flops = rows * (2 * (self.layer_weights + self.head_weights) +
                        self.attention_flops(1, context))
        return self._limit(
            flops, self._llm_bytes() + rows * context * self.cache_bytes)

    def caption(self, rows: int, tokens: int, new: int) -> Limit:
        """From pixels to ``new`` tokens: encode, read, write."""
        steps = self.step(rows, tokens + new / 2)
        return (self.vision(rows) + self.prefill(rows, tokens) +
                Limit((new - 1) * steps.seconds, steps.by))

    def training(self, rows: int, tokens: int, supervised: int,
                 vision: bool = True) -> Limit:
        """A step: forward, and back to the visual tokens.

        Twice the forward's work, since frozen weights need no gradient.
        """
        llm = 2 * rows * (2 * tokens * self.layer_weights +
                          2 * supervised * self.head_weights +
                          self.attention_flops(tokens, tokens / 2))
        part = self._limit(llm, 2 * self._llm_bytes())
        return part + self.vision(rows) if vision else part

    def _llm_bytes(self) -> float:
        return (self.layer_weights + self.head_weights) * self.weight_bytes

    def _limit(self, flops: float, moved: float) -> Limit:
        arithmetic = flops / self.ceilings.flops
        memory = moved / self.ceilings.bandwidth
        if arithmetic >= memory:
            return Limit(arithmetic, 'arithmetic')
        return Limit(memory, 'memory')
