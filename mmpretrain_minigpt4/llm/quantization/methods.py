# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Fewer bits for the weights of a frozen language model.

What is quantised are the linear layers inside the decoder's layers; token
embeddings, norms and the output head keep their type, as everyone does. The
gradient flows through to whatever stands before: the weights themselves are
not trained.

Legend: R rows (tokens), I inputs, O outputs of a linear layer.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...errors import ConfigError
from ...ops import PackableInt8, PrepackedLinear
from ...ops.linear import int8_chunked
from ...ops.linear.int8_gemv import int8_gemv
from .fp8 import check_fp8, fp8


@dataclass(frozen=True)
class Method:
    """A way to quantise.

    Attributes:
        library: Where its kernels are.
        bits: Of one weight, its share of the scales included, where a row
            has ``I`` weights: ``bits + row_bits / I``.
        row_bits: What each row of a weight needs besides.
    """
    library: str
    bits: float
    row_bits: int = 0


METHODS = {
    # One float32 scale and one int8 zero point for each row.
    'int8': Method('torchao', 8, 40),
    # One float32 scale for each row.
    'int8-dynamic': Method('bitsandbytes', 8, 32),
    # One float32 scale for each row; activations likewise.
    'fp8': Method('torchao', 8, 32),
    # One float32 scale for each 64 weights.
    'int4': Method('bitsandbytes', 4.5),
}
QUANTIZATIONS = ('none', *METHODS)
# Versions that this package was tested with, and the modules wanted of them.
_LIBRARIES = dict(
    torchao=('torchao>=0.18,<0.19', 'torchao.quantization'),
    bitsandbytes=('bitsandbytes>=0.50,<0.51', 'bitsandbytes'))
# Layers that keep their type: what they get or give is not a hidden state.
_KEPT = ('lm_head', 'embed_out')


def check(quantization: str | None) -> str:
    """Normalise a name, and ask for its library before weights are read.

    Args:
        quantization: ``none`` (or None), ``int8``, ``int8-dynamic``,
            ``fp8`` or ``int4``.

    Raises:
        ConfigError: If there is no such method, or its library or the GPU
            that it needs is missing.
    """
    quantization = quantization or 'none'
    if quantization not in QUANTIZATIONS:
        raise ConfigError(f'There is no quantization {quantization!r}; '
                          f'known: {", ".join(QUANTIZATIONS)}.')
    if quantization == 'none':
        return quantization
    if quantization == 'fp8':
        check_fp8()
    wanted, module = _LIBRARIES[METHODS[quantization].library]
    try:
        with _quietly():
            importlib.import_module(module)
    except (ImportError, OSError, RuntimeError) as error:
        raise ConfigError(
            f'quantization={quantization!r} needs {wanted}, which cannot be '
            f'imported here ({str(error).splitlines()[0][:200]}): pip '
            "install 'mmpretrain-minigpt4[quantize]'.") from error
    return quantization


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Import without notices of what a GPU would have besides.

    Nor may bitsandbytes fetch a kernel, and run it, as it does from a hub
    where a package of that name is installed.
    """
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    hidden = 'kernels' not in sys.modules
    if hidden:
        sys.modules['kernels'] = None
    try:
        yield
    finally:
        logging.disable(disabled)
        if hidden:
            del sys.modules['kernels']


@torch.no_grad()
def quantize(llm: nn.Module, quantization: str) -> nn.Module:
    """Quantise a frozen language model in place, one layer after another.

    Each original weight is freed before the next layer is looked at. Nothing
    happens on the ``meta`` device.

    Args:
        llm: A language model, in eval mode.
        quantization: As of :func:`check`.

    Returns:
        The model itself; its quantised layers are still ``nn.Linear``.

    Raises:
        ConfigError: As of :func:`check`, or if a layer's shape does not
            suit the method.
    """
    quantization = check(quantization)
    if quantization == 'none':
        return llm
    make = _MAKERS[quantization]
    # Names rather than modules: those would keep their weights alive.
    found = [(name, key) for name, parent in llm.named_modules()
             for key, child in parent.named_children()
             if type(child) is nn.Linear and key not in _KEPT
             and not child.weight.is_meta]
    for name, key in found:
        parent = llm.get_submodule(name)
        setattr(parent, key,
                make(getattr(parent, key), f'{name}.{key}').eval())
    return llm


def is_quantized(module: nn.Module) -> bool:
    """Whether a layer, or any inside a module, holds quantised weights.

    Such a layer has to be called; its ``weight`` is no plain matrix.
    """
    return any(
        isinstance(getattr(layer, 'weight', None), nn.Parameter)
        and (not layer.weight.is_floating_point()
             or hasattr(layer.weight, '__tensor_flatten__'))
        for layer in module.modules() if isinstance(layer, nn.Linear))


def plain_tensors(module: nn.Module) -> Iterator[Tensor]:
    """All that a module keeps in memory, scales and packed weights too."""
    seen: set[int] = set()
    for layer in module.modules():
        own = [*layer._parameters.values(), *layer._buffers.values()]
        for tensor in own:
            if tensor is None or id(tensor) in seen:
                continue
            seen.add(id(tensor))
            yield from _inner(tensor)
        if isinstance(layer, PrepackedLinear):
            yield layer.weight.detach()  # its bytes are as many when packed
            continue
        if isinstance(layer, PackableInt8) and layer.packed is not None:
            yield from layer.int8_parts()
            continue
        state = getattr(getattr(layer, 'weight', None), 'quant_state', None)
        if state is not None:
            yield state.absmax
        for holder in (getattr(layer, 'state', None),
                       getattr(layer, 'weight', None)):
            scale = getattr(holder, 'SCB', None)
            if isinstance(scale, Tensor):
                yield scale


def weight_bytes(module: nn.Module) -> int:
    """Bytes of a module's parameters, buffers and scales."""
    return sum(x.numel() * x.element_size() for x in plain_tensors(module))


def _inner(tensor: Tensor) -> Iterator[Tensor]:
    if not hasattr(tensor, '__tensor_flatten__'):
        yield tensor
        return
    for name in tensor.__tensor_flatten__()[0]:
        yield from _inner(getattr(tensor, name))


class _Int8Product(torch.autograd.Function):
    """``x @ weight.T``, that keeps no unpacked weight for the backward pass.

    torchao's own keeps one, of the activations' type, for each layer: more
    than the weights that were saved.
    """

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor) -> Tensor:
        ctx.weight = weight
        few = int8_gemv(x, weight.qdata, weight.scale)
        if few is not None:
            return few
        rows = x.reshape(-1, x.shape[-1])  # float[R, I]
        # PyTorch's own kernel reads the packed weight once, which pays for
        # a few rows only.
        if (x.device.type == 'cpu' and x.dtype == torch.bfloat16
                and 0 < len(rows) <= 8):
            out = torch._weight_int8pack_mm(
                rows.contiguous(), weight.qdata,
                weight.scale.to(x.dtype).flatten())
            return out.reshape(*x.shape[:-1], -1)
        if x.device.type == 'cpu':
            return int8_chunked.product(x, weight.qdata, weight.scale)
        return nn.functional.linear(x, weight)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        weight = ctx.weight
        if grad.device.type == 'cpu':
            grad = int8_chunked.gradient(grad, weight.qdata, weight.scale)
            return grad, None
        # float[R, O] * float[O] @ int8[O, I]
        scale = weight.scale.flatten().to(grad)
        return (grad * scale) @ weight.qdata.to(grad.dtype), None


class Int8Linear(nn.Linear):
    """A frozen linear layer whose weight is torchao's ``Int8Tensor``."""

    def forward(self, x: Tensor) -> Tensor:
        """float[..., I] to float[..., O]."""
        out = _Int8Product.apply(x, self.weight)
        return out if self.bias is None else out + self.bias.to(out.dtype)


def _int8(linear: nn.Linear, name: str) -> nn.Linear:
    from torchao.quantization import Int8WeightOnlyConfig, quantize_
    holder = nn.Sequential(_float32(linear))
    quantize_(holder, Int8WeightOnlyConfig(version=2))
    return _as(Int8Linear, linear, holder[0].weight)


def _int8_dynamic(linear: nn.Linear, name: str) -> nn.Linear:
    from .bitsandbytes_layers import dynamic_int8
    return dynamic_int8(_float32(linear))


def _int4(linear: nn.Linear, name: str) -> nn.Linear:
    from .bitsandbytes_layers import BLOCK, nf4
    if linear.weight.numel() % BLOCK:
        raise ConfigError(
            f"quantization='int4' takes {BLOCK} weights together; {name} has "
            f'{linear.out_features} x {linear.in_features}. Take int8.')
    return nf4(_float32(linear))


_MAKERS: dict[str, Callable[[nn.Linear, str], nn.Linear]] = {
    'int8': _int8,
    'int8-dynamic': _int8_dynamic,
    'fp8': fp8,
    'int4': _int4,
}


def _float32(linear: nn.Linear) -> nn.Linear:
    """A linear layer with a float32 copy of a weight."""
    return _as(nn.Linear, linear, linear.weight.detach().float())


def _as(kind: type[nn.Linear], linear: nn.Linear,
        weight: Tensor) -> nn.Linear:
    """A layer of a kind, with a weight of its own and another's bias."""
    with torch.device('meta'):
        layer = kind(linear.in_features, linear.out_features, bias=False)
    if not isinstance(weight, nn.Parameter):
        weight = nn.Parameter(weight, requires_grad=False)
    layer.weight = weight.requires_grad_(False)
    if linear.bias is not None:
        layer.bias = nn.Parameter(linear.bias.detach(), requires_grad=False)
    return layer
