# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Linear layers that multiply in 8-bit floating point, on GPUs that can.

Weights are kept in float8 with one scale a row. Many activations are brought
there at each call, with one scale a token; few are multiplied as they are,
since reading the weight is all that takes time then.

Legend: R rows (tokens), I inputs, O outputs of a linear layer.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...errors import ConfigError
from ...ops.linear.int8_gemv import int8_gemv

FLOAT8 = torch.float8_e4m3fn
LARGEST = torch.finfo(FLOAT8).max
# Rows and columns of a weight come in such blocks.
BLOCK = 16
# The oldest architecture that multiplies float8, Ada.
OLDEST = (8, 9)


def check_fp8() -> None:
    """Ask for a GPU that multiplies float8.

    Raises:
        ConfigError: If there is none.
    """
    if torch.cuda.is_available():
        found = torch.cuda.get_device_capability()
        if torch.version.hip is None and found >= OLDEST:
            return
        here = 'this one has {}.{}'.format(*found)
    else:
        here = 'there is none here'
    raise ConfigError(
        "quantization='fp8' needs an NVIDIA GPU of compute capability 8.9 or "
        f"later (Ada, Hopper); {here}. Take 'int8', or 'none'.")


class Fp8Linear(nn.Linear):
    """A frozen linear layer whose weight is torchao's ``Float8Tensor``."""

    def forward(self, x: Tensor) -> Tensor:
        """float[..., I] to float[..., O]."""
        out = _Product.apply(x, self.weight)
        return out if self.bias is None else out + self.bias.to(out.dtype)


class _Product(torch.autograd.Function):
    """``x @ weight.T``; only x has a gradient, and in its own type."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor) -> Tensor:
        ctx.weight = weight
        few = int8_gemv(x, weight.qdata, weight.scale)
        if few is not None:
            return few
        rows, scales = to_float8(x.reshape(-1, x.shape[-1]))
        out = torch._scaled_mm(
            rows,
            weight.qdata.t(),
            scale_a=scales,
            scale_b=weight.scale.t(),
            out_dtype=torch.bfloat16,
            use_fast_accum=True)
        return out.to(x.dtype).reshape(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        # float[R, O] * float[O] @ float[O, I]
        scale = ctx.weight.scale.flatten().to(grad)
        return (grad * scale) @ ctx.weight.qdata.to(grad.dtype), None


def to_float8(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Bring each row to the range of float8.

    Args:
        rows: float[R, I].

    Returns:
        tuple: float8[R, I], and float32[R, 1] that it is to be multiplied
        by.
    """
    wide = rows.float()
    scales = wide.abs().amax(1, keepdim=True).clamp(min=1e-12) / LARGEST
    return (wide / scales).to(FLOAT8), scales


def fp8(linear: nn.Linear, name: str) -> nn.Linear:
    """A layer with another's weight in float8.

    Args:
        linear: A plain one.
        name: Of the layer, for the error.

    Raises:
        ConfigError: If its shape does not suit.
    """
    from torchao.quantization import Float8Tensor, PerRow
    if linear.out_features % BLOCK or linear.in_features % BLOCK:
        raise ConfigError(
            f"quantization='fp8' takes weights by blocks of {BLOCK}; {name} "
            f'has {linear.out_features} x {linear.in_features}. Take int8.')
    with torch.device('meta'):
        found = Fp8Linear(linear.in_features, linear.out_features, bias=False)
    found.weight = nn.Parameter(
        Float8Tensor.from_hp(
            linear.weight.detach().to(torch.bfloat16), FLOAT8, PerRow()),
        requires_grad=False)
    if linear.bias is not None:
        found.bias = nn.Parameter(linear.bias.detach(), requires_grad=False)
    return found
