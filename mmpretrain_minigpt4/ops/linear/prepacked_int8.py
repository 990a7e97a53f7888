# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Products with 8-bit weights, by the integer instructions of CPUs.

Activations are rounded to 8 bits as well, each row by its own largest value,
so that a row's result does not depend on its neighbours. The few values that
are far larger than the rest are multiplied apart, as in LLM.int8()
(arXiv:2208.07339, section 3.2), so that they cost the others no precision.

Legend: R rows, I and O input and output channels.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from .. import kernels
from ..native.int8 import Int8Panels, has_int8

LEVELS = 127  # on either side of zero
OUTLIER = 6.0  # activations above this are multiplied apart


class FbgemmWeight:
    """A weight of 8 bits, laid out by PyTorch.

    Args:
        weight: int8[O, I].
        scale: float[O], what one step of each row's weights is worth.
    """

    def __init__(self, weight: Tensor, scale: Tensor) -> None:
        zeros = torch.zeros(len(weight), dtype=torch.long)
        with warnings.catch_warnings():
            # Quantised tensors are on their way out of PyTorch; the product
            # that reads them has no successor yet.
            warnings.simplefilter('ignore')
            self._packed = torch.ops.quantized.linear_prepack(
                torch._make_per_channel_quantized_tensor(
                    weight.contiguous(), scale.double(), zeros, 0), None)

    def parts(self) -> tuple[Tensor, Tensor]:
        """The weight, int8[O, I], and the scales, float[O], made anew."""
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            whole, _ = torch.ops.quantized.linear_unpack(self._packed)
            return whole.int_repr(), whole.q_per_channel_scales().float()

    def product(self, rows: Tensor, outlier: float) -> Tensor:
        """The product with rows that are rounded to 8 bits.

        Args:
            rows: float[R, I].
            outlier: Numbers above it are multiplied apart.

        Returns:
            float[R, O].
        """
        dtype, rows = rows.dtype, rows.float()
        size = rows.abs()
        top = size.amax(1, keepdim=True)  # float[R, 1]
        if rows.numel() and top.max().item() > outlier:
            far = size > outlier
            # float[2 R, I]: the weight is read once for both.
            rows = torch.cat([rows.masked_fill(far, 0.),
                              rows.masked_fill(~far, 0.)])
            near, beyond = self._rounded(
                rows, rows.abs().amax(1, keepdim=True)).chunk(2)
            return (near + beyond).to(dtype)
        return self._rounded(rows, top).to(dtype)

    def _rounded(self, rows: Tensor, top: Tensor) -> Tensor:
        # A row of zeros becomes one of NaN, which any integer may stand for:
        # the result is multiplied by zero.
        product = torch.ops.quantized
        product = product.linear_with_input_q_dq_qweight_dq_output_fp32
        return product(rows / top, 1 / LEVELS, LEVELS + 1,
                       self._packed).mul_(top)


class PrepackedInt8:
    """A frozen weight of 8 bits, laid out for this CPU.

    Args:
        weight: int8[O, I].
        scale: float[O], what one step of each row's weights is worth.
        kind: :class:`FbgemmWeight` or :class:`..native.int8.Int8Panels`; by
            default the faster one that works.
    """

    def __init__(self, weight: Tensor, scale: Tensor,
                 kind: type | None = None) -> None:
        self._weight = (kind or _best_kind())(weight, scale)

    def parts(self) -> tuple[Tensor, Tensor]:
        """The weight, int8[O, I], and the scales, float[O], made anew."""
        return self._weight.parts()

    def product(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """The linear layer of this weight; the gradient is that of float.

        Args:
            x: float[..., I].
            bias: float[O].

        Returns:
            float[..., O], of x's type.
        """
        if torch.is_grad_enabled() and x.requires_grad:
            out = _Product.apply(x, self)
        else:
            out = self._product(x)
        return out if bias is None else out + bias.to(out.dtype)

    def _product(self, x: Tensor) -> Tensor:
        out = self._weight.product(x.reshape(-1, x.shape[-1]), OUTLIER)
        # float[R, O] -> float[..., O]
        return out.view(*x.shape[:-1], -1)

    def __deepcopy__(self, memo: dict) -> PrepackedInt8:
        return self  # it never changes


class _Product(torch.autograd.Function):
    """Only the input has a gradient; the rounding is taken for the identity.
    """

    @staticmethod
    def forward(ctx, x: Tensor, packed: PrepackedInt8) -> Tensor:
        ctx.packed = packed
        return packed._product(x)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        weight, scale = ctx.packed.parts()
        # float[..., O] * float[O] @ int8[O, I]
        return (grad * scale.to(grad)) @ weight.to(grad.dtype), None


class PackableInt8:
    """What a linear layer of 8-bit weights needs in order to be packed."""

    def take_int8(self) -> tuple[Tensor, Tensor]:
        """Give away the weight, int8[O, I], and its scales, float[O]."""
        raise NotImplementedError

    def put_int8(self, weight: Tensor, scale: Tensor) -> None:
        """Take both back."""
        raise NotImplementedError

    @property
    def packed(self) -> PrepackedInt8 | None:
        """What the layer is packed into, alone or with others."""
        return self.__dict__.get('_whole')

    def int8_parts(self) -> tuple[Tensor, Tensor]:
        """The weight and scales of a packed layer, made anew."""
        return tuple(part[self._share] for part in self.packed.parts())

    def packed_product(self, x: Tensor) -> Tensor:
        """float[..., I] to float[..., O], once the layer is packed."""
        return self.packed.product(x)[..., self._share]

    def unpack_int8(self) -> None:
        """Undo what :func:`pack_int8` did to this layer, if it did."""
        if self.packed is None:
            return
        weight, scale = self.int8_parts()
        del self.__dict__['_whole'], self.__dict__['_share']
        self.put_int8(weight.clone(), scale.clone())


def pack_int8(layers: Sequence[PackableInt8]) -> None:
    """Lay out the weights of layers that read the same input as one."""
    parts = [layer.take_int8() for layer in layers]
    whole = PrepackedInt8(torch.cat([weight for weight, _ in parts]),
                          torch.cat([scale for _, scale in parts]))
    share_out(whole, layers)


def share_out(whole: object, layers: Sequence[torch.nn.Module]) -> None:
    """Tell layers which outputs of a whole are theirs, one after another."""
    start = 0
    for layer in layers:
        stop = start + layer.out_features
        # Not a submodule: the weight belongs to the layers it is of.
        layer.__dict__['_whole'] = whole
        layer.__dict__['_share'] = slice(start, stop)
        start = stop


def can_pack_int8() -> bool:
    """Whether this PyTorch and this CPU can, which is tried out."""
    return _best_kind() is not None


def _best_kind() -> type | None:
    native = kernels.available('cpu', torch.float32) == 'native' and has_int8()
    kinds = [Int8Panels, FbgemmWeight] if native else [FbgemmWeight]
    return next(filter(_works, kinds), None)


@functools.cache
def _works(kind: type) -> bool:
    """Whether a layout gives what it should.

    Old CPUs add pairs of products in 16 bits, which the largest ones
    overflow: they fail here.
    """
    weight = torch.full((3, 64), LEVELS, dtype=torch.int8)
    try:
        packed = PrepackedInt8(weight, torch.ones(3), kind)
        found = packed._product(torch.ones(1, 64))
        same = torch.equal(packed.parts()[0], weight)
    except (AttributeError, RuntimeError):
        return False
    return same and torch.equal(found, torch.full((1, 3), 64. * LEVELS))
