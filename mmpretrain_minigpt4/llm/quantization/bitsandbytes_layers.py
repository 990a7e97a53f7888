# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Linear layers of bitsandbytes, mended where a frozen model needs it.

Importing this file imports bitsandbytes.

Legend: I inputs, O outputs of a linear layer.
"""

from __future__ import annotations

import logging

import bitsandbytes as bnb
import torch
from torch import Tensor, nn

from ...ops import PackableInt8
from ...ops.linear.prepacked_int8 import LEVELS, OUTLIER

# Weights that share a scale in 4 bits.
BLOCK = 64


class _NoCastNotice(logging.Filter):
    """The cast of activations to float16 is told once, in the docs."""

    def filter(self, record: logging.LogRecord) -> bool:
        return 'inputs will be cast' not in str(record.msg)


logging.getLogger('bitsandbytes.autograd._functions').addFilter(
    _NoCastNotice())


class NF4Linear(bnb.nn.Linear4bit):
    """Four bits a weight, and one scale for each 64 of them.

    On CPUs with AVX512-BF16 bitsandbytes keeps the weight in another order
    for its fused kernel, which computes in bfloat16 and gives no gradient.
    This layer goes back to the plain order when a gradient is wanted, which
    bitsandbytes alone does not, and takes the kernel only for shapes that
    it can do.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(
            in_features, out_features, bias=False, compress_statistics=False,
            quant_type='nf4', device='meta')
        self.support_avx512bf16_for_cpu &= (
            in_features % BLOCK == 0 and out_features % 32 == 0)

    def forward(self, x: Tensor) -> Tensor:
        """float[..., I] to float[..., O]."""
        if torch.is_grad_enabled() and x.requires_grad:
            self.unpack()
        self.compute_dtype = x.dtype
        self.compute_type_is_set = True
        return super().forward(x)

    def unpack(self) -> None:
        """Bring the weight into the plain order, if it is in the other."""
        weight = self.weight
        state = weight.quant_state
        if not getattr(state, 'packing_format_for_cpu', False):
            return
        scales = state.absmax  # bfloat16[I / 64, O]
        back = bnb.functional._convert_weight_packed_for_cpu_inverse
        weight.data, state = back(weight.data, state)
        # The inverse leaves these as they are.
        state.absmax = scales.T.contiguous().flatten().float()
        weight.quant_state = self.quant_state = state

    def _apply(self, fn, recurse: bool = True):
        self.unpack()
        return super()._apply(fn, recurse)

    def _save_to_state_dict(self, destination, prefix, keep_vars) -> None:
        self.unpack()
        super()._save_to_state_dict(destination, prefix, keep_vars)


def nf4(linear: nn.Linear) -> NF4Linear:
    """Quantise a float32 layer to 4 bits, on its own device."""
    layer = NF4Linear(linear.in_features, linear.out_features)
    packed, state = bnb.functional.quantize_4bit(
        linear.weight.detach().contiguous(), blocksize=BLOCK,
        compress_statistics=False, quant_type='nf4')
    # The fused kernel reads bfloat16; so both orders say the same.
    state.absmax = state.absmax.bfloat16().float()
    layer.weight = bnb.nn.Params4bit(
        packed, requires_grad=False, quant_state=state, blocksize=BLOCK,
        compress_statistics=False, quant_type='nf4', module=layer,
        bnb_quantized=True)
    layer.quant_state = state
    return _with_bias(layer, linear)


class DynamicInt8Linear(PackableInt8, bnb.nn.Linear8bitLt):
    """LLM.int8(), which CPUs do faster once the weight is packed.

    bitsandbytes multiplies in 8 bits on GPUs; on CPUs it goes by way of
    floats.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(
            in_features, out_features, bias=False, has_fp16_weights=False,
            threshold=OUTLIER, device='meta')

    def forward(self, x: Tensor) -> Tensor:
        """float[..., I] to float[..., O]."""
        if self.packed is None:
            return super().forward(x)
        out = self.packed_product(x)
        return out if self.bias is None else out + self.bias.to(out.dtype)

    def take_int8(self) -> tuple[Tensor, Tensor]:
        """Give away the weight, int8[O, I]; its scales are float[O]."""
        own, weight = self.weight, self.weight.data
        if own.SCB is None:  # a forward pass has moved it
            own.SCB = self.state.SCB
        self.state.CB = self.state.SCB = own.CB = None
        own.data = weight.new_empty(0)
        return weight, own.SCB / LEVELS

    def put_int8(self, weight: Tensor, scale: Tensor) -> None:
        """Take the weight back; what its scales come from never left."""
        self.weight.data = self.weight.CB = weight

    def _apply(self, fn, recurse: bool = True):
        self.unpack_int8()
        return super()._apply(fn, recurse)

    def _save_to_state_dict(self, destination, prefix, keep_vars) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self.packed is not None:  # and stays so
            destination[prefix + 'weight'] = self.int8_parts()[0].clone()

    def _load_from_state_dict(self, *args, **kwargs) -> None:
        self.unpack_int8()
        super()._load_from_state_dict(*args, **kwargs)


def dynamic_int8(linear: nn.Linear) -> DynamicInt8Linear:
    """Quantise a float32 layer to LLM.int8(), on its own device."""
    layer = DynamicInt8Linear(linear.in_features, linear.out_features)
    weight = bnb.nn.Int8Params(
        linear.weight.detach(), requires_grad=False, has_fp16_weights=False)
    layer.weight = weight._quantize(linear.weight.device)
    return _with_bias(layer, linear)


def _with_bias(layer: nn.Linear, linear: nn.Linear) -> nn.Linear:
    if linear.bias is not None:
        layer.bias = nn.Parameter(linear.bias.detach(), requires_grad=False)
    return layer
