# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Linear layers of frozen weights, laid out once as the CPU wants them.

A stock linear layer brings its weight into oneDNN's blocked layout, or falls
back to a slower product, at every call. A frozen weight need be laid out only
once; the numbers stay the same. The operators for it are private to PyTorch,
so they are tried before they are used, and without them all stays as it was.

Legend: I and O input and output channels.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from .merged import count_owners, merged_bias, merged_linear
from .prepacked_int8 import PackableInt8, can_pack_int8, pack_int8, share_out

# The layout hardly depends on the number of rows; this many is typical.
ROWS = 32
TYPES = (torch.float32, torch.bfloat16)
# What makes a layer a prepacked one, beside its class.
PACKED = ('_packed', '_whole', '_share')


def prepack(module: nn.Module,
            groups: Sequence[Sequence[str]] = ()) -> int:
    """Prepack the frozen linear layers in a module, where that works.

    The original weights are freed. State dicts, copies, moves and loading go
    on as before: they see plain weights, and a layer that is moved or loaded
    becomes plain again. Layers of 8-bit weights that can be packed are, in
    the same way. Layers stay what they are if they are trained, share their
    weight, are not on a CPU, or are neither (quantised otherwise, sharded).

    Args:
        module: On a CPU.
        groups: Names of layers of one module that read the same input;
            :func:`fused_linears` makes one product of them. Called one by one
            they are slower than alone.

    Returns:
        int: How many layers were prepacked.
    """
    owners = count_owners(module)

    def suits(layer: nn.Module | None) -> bool:
        if type(layer) is not nn.Linear:
            return False
        weight = layer.weight
        return (not weight.requires_grad and owners[id(weight)] == 1
                and type(weight) is nn.Parameter
                and type(weight.data) is torch.Tensor
                and weight.device.type == 'cpu' and weight.dtype in TYPES
                and can_prepack(weight.dtype))

    def suits_int8(layer: nn.Module | None) -> bool:
        return (isinstance(layer, PackableInt8) and layer.packed is None
                and layer.weight.device.type == 'cpu' and can_pack_int8())

    number = 0
    for parent in list(module.modules()):
        for names in groups:
            layers = [getattr(parent, name, None) for name in names]
            if all(map(suits, layers)) and len(
                    {(x.in_features, x.weight.dtype) for x in layers}) == 1:
                _pack_together(layers)
                number += len(layers)
            if all(map(suits_int8, layers)) and len(
                    {layer.in_features for layer in layers}) == 1:
                pack_int8(layers)
                number += len(layers)
    for layer in module.modules():
        if suits(layer):
            _pack(layer, _reorder(layer.weight.detach()))
            number += 1
        elif suits_int8(layer):
            pack_int8([layer])
            number += 1
    return number


def _pack(layer: nn.Linear, packed: torch.Tensor) -> None:
    del layer._parameters['weight']
    layer.__class__ = PrepackedLinear
    layer.__dict__['_packed'] = {(packed.dtype, False): packed}


def _pack_together(layers: Sequence[nn.Linear]) -> None:
    weights = [layer.weight.detach() for layer in layers]
    whole = nn.Linear(1, 1, bias=False, device='meta')
    whole.in_features = layers[0].in_features
    whole.out_features = sum(len(weight) for weight in weights)
    _pack(whole, _reorder(torch.cat(weights)))
    for layer in layers:
        del layer._parameters['weight']
        layer.__class__ = PackedShare
    share_out(whole, layers)


def unpack(layer: nn.Module) -> None:
    """Make a prepacked layer plain again; any other stays as it is."""
    if not isinstance(layer, PrepackedLinear):
        return
    weight = layer.weight
    for key in PACKED:
        layer.__dict__.pop(key, None)
    layer.__class__ = nn.Linear
    layer.register_parameter('weight', weight)


def linear(layer: nn.Module, x: torch.Tensor,
           bias: torch.Tensor | None = None) -> torch.Tensor:
    """A linear layer, with another bias than its own.

    Args:
        layer: Prepacked or plain.
        x: float[..., I].
        bias: float[O].
    """
    if isinstance(layer, PrepackedLinear):
        return layer.product(x, bias)
    return F.linear(x, layer.weight, bias)


def fused_linears(layers: Sequence[nn.Module], x: torch.Tensor
                  ) -> Sequence[torch.Tensor]:
    """Layers that read the same input, in one product where they are packed
    or merged.

    Args:
        layers: Of any kind.
        x: float[..., I].

    Returns:
        Sequence: float[..., O] of each.
    """
    product = fused_forward(layers, x)
    if product is None:
        return [layer(x) for layer in layers]
    return product.split([layer.out_features for layer in layers], -1)


def fused_forward(layers: Sequence[nn.Module], x: torch.Tensor
                  ) -> torch.Tensor | None:
    """What layers that are packed or merged give, as one tensor.

    Args:
        layers: Of any kind.
        x: float[..., I].

    Returns:
        float[..., sum of O], or None where they are not together.
    """
    whole = layers[0].__dict__.get('_whole')
    for layer in layers:
        if layer.__dict__.get('_whole') is not whole:
            whole = None
    if whole is None:
        return merged_linear(layers, x)
    return whole.product(x, merged_bias(layers, x))


def linear_gelu(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """A linear layer and GELU (by the error function) after it.

    Args:
        layer: Prepacked or plain, with a bias or without.
        x: float[..., I].
    """
    if isinstance(layer, PrepackedLinear) and not (torch.is_grad_enabled()
                                                   and x.requires_grad):
        return layer.product(x, layer.bias, 'gelu')
    return F.gelu(layer(x))


@functools.cache
def can_prepack(dtype: torch.dtype) -> bool:
    """Whether this PyTorch and this CPU can, which is tried out."""
    weight = torch.arange(12., dtype=dtype).view(3, 4)
    x = torch.ones(2, 4, dtype=dtype)
    try:
        packed = _reorder(weight)
        found = torch.ops.mkldnn._linear_pointwise(x, packed, None, 'none',
                                                   [], '')
        return (torch.equal(packed.to_dense(), weight)
                and torch.equal(found, F.linear(x, weight)))
    except (AttributeError, RuntimeError):
        return False


class PrepackedLinear(nn.Linear):
    """A frozen linear layer whose weight is laid out for oneDNN.

    Made by :func:`prepack`, not built.
    """

    @property
    def weight(self) -> nn.Parameter:
        """The plain weight, float[O, I], made anew at each reading."""
        packed = next(iter(self._packed.values()))
        return nn.Parameter(packed.to_dense(), requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """float[..., I] to float[..., O]."""
        return self.product(x, self.bias)

    def product(self,
                x: torch.Tensor,
                bias: torch.Tensor | None,
                activation: str = 'none') -> torch.Tensor:
        """As :meth:`forward`, with this bias.

        Args:
            x: float[..., I].
            bias: float[O], or None.
            activation: ``none`` or ``gelu``; without a gradient only.
        """
        if torch.is_autocast_enabled('cpu'):
            dtype = torch.get_autocast_dtype('cpu')
            x = x.to(dtype)
            bias = None if bias is None else bias.to(dtype)
        if torch.is_grad_enabled():
            if bias is not None and bias.requires_grad:
                return _FrozenProduct.apply(x, self) + bias
            if x.requires_grad:
                product = _FrozenProduct.apply(x, self)
                return product if bias is None else product + bias
        return torch.ops.mkldnn._linear_pointwise(
            x, self.packed(x.dtype), bias, activation, [], 'none')

    def packed(self, dtype: torch.dtype, transposed: bool = False
               ) -> torch.Tensor:
        """The weight in oneDNN's layout, in a type, perhaps transposed."""
        found = self._packed.get((dtype, transposed))
        if found is None:
            weight = self.weight.detach().to(dtype)
            found = _reorder(weight.t().contiguous() if transposed else
                             weight)
            self._packed[dtype, transposed] = found
        return found

    def _apply(self, *args, **kwargs):
        unpack(self)
        return self._apply(*args, **kwargs)

    def _save_to_state_dict(self, destination, prefix, keep_vars):
        weight = self.weight
        destination[prefix + 'weight'] = (weight if keep_vars else
                                          weight.detach())
        super()._save_to_state_dict(destination, prefix, keep_vars)

    def _load_from_state_dict(self, *args, **kwargs):
        unpack(self)
        self._load_from_state_dict(*args, **kwargs)

    def __reduce_ex__(self, protocol):
        # What is copied or pickled is the plain layer.
        state = {
            key: value for key, value in self.__dict__.items()
            if key not in PACKED
        }
        state['_parameters'] = dict(self._parameters, weight=self.weight)
        return _plain_linear, (state, )


def _plain_linear(state: dict) -> nn.Linear:
    layer = nn.Linear.__new__(nn.Linear)
    layer.__dict__ = state
    return layer


class PackedShare(PrepackedLinear):
    """A prepacked layer whose weight is laid out together with others'."""

    @property
    def weight(self) -> nn.Parameter:
        """The plain weight, float[O, I], made anew at each reading."""
        weight = self._whole.weight[self._share].clone()
        return nn.Parameter(weight, requires_grad=False)

    @property
    def _packed(self) -> dict:
        # Alone it is laid out at each call.
        weight = self.weight
        return {(weight.dtype, False): _reorder(weight)}


class _FrozenProduct(torch.autograd.Function):
    """A product with a frozen weight; only its input has a gradient."""

    @staticmethod
    def forward(ctx, x, layer):
        ctx.layer = layer
        return torch.ops.mkldnn._linear_pointwise(
            x, layer.packed(x.dtype), None, 'none', [], '')

    @staticmethod
    def backward(ctx, grad):
        packed = ctx.layer.packed(grad.dtype, transposed=True)
        return torch.ops.mkldnn._linear_pointwise(
            grad.contiguous(), packed, None, 'none', [], ''), None


def _reorder(weight: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return torch.ops.mkldnn._reorder_linear_weight(
            weight.contiguous(), ROWS)
