# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Packed 8-bit weights give what their integers say, row by row."""

import copy

import pytest
import torch
from torch import nn

from mmpretrain_minigpt4.ops import PackableInt8, fused_linears, prepack
from mmpretrain_minigpt4.ops.linear.prepacked_int8 import (
    OUTLIER,
    FbgemmWeight,
    PrepackedInt8,
    can_pack_int8,
)
from mmpretrain_minigpt4.ops.native.int8 import Int8Panels, has_int8

pytestmark = pytest.mark.skipif(
    not can_pack_int8(), reason='this PyTorch or CPU has no 8-bit products')


class Held(PackableInt8, nn.Linear):
    """A layer of 8-bit weights that keeps them plainly."""

    def __init__(self, outputs: int, bias: bool = False) -> None:
        super().__init__(48, outputs, bias=bias)
        self.requires_grad_(False)
        self.parts = (torch.randint(-127, 128, (outputs, 48),
                                    dtype=torch.int8),
                      torch.rand(outputs) / 127)

    def forward(self, x):
        out = self.packed_product(x)
        return out if self.bias is None else out + self.bias

    def take_int8(self):
        parts, self.parts = self.parts, None
        return parts

    def put_int8(self, weight, scale):
        self.parts = weight, scale


def rounded(x: torch.Tensor) -> torch.Tensor:
    """Each row of float[R, I] in 255 steps of its own size."""
    step = x.abs().amax(1, keepdim=True) / 127
    return torch.where(step > 0, (x / step).round() * step, 0.)


@pytest.fixture(params=[FbgemmWeight, Int8Panels])
def made(request):
    if request.param is Int8Panels and not has_int8():
        pytest.skip('this CPU has no VNNI, or the kernels for CPUs are not '
                    'compiled')
    torch.manual_seed(0)
    weight = torch.randint(-127, 128, (40, 48), dtype=torch.int8)
    scale = torch.rand(40) / 127
    return PrepackedInt8(weight, scale, request.param), weight, scale


def test_a_product_is_that_of_the_rounded_rows(made):
    packed, weight, scale = made
    x = torch.randn(5, 48)
    wanted = rounded(x) @ (weight.float().T * scale)
    torch.testing.assert_close(packed.product(x), wanted)
    found = packed.product(x.view(5, 1, 48), torch.ones(40))
    torch.testing.assert_close(found, wanted.unsqueeze(1) + 1)


def test_it_is_near_the_product_of_the_floats(made):
    packed, weight, scale = made
    x = torch.randn(64, 48)
    wanted = x @ (weight.float().T * scale)
    assert (packed.product(x) - wanted).norm() < 0.01 * wanted.norm()


def test_a_row_does_not_depend_on_its_neighbours(made):
    packed = made[0]
    x = torch.randn(6, 48)
    x[1] *= 50  # far beyond what is multiplied apart
    x[2] = 0
    alone = torch.cat([packed.product(row) for row in x.split(1)])
    assert torch.equal(packed.product(x), alone)
    assert torch.equal(alone[2], torch.zeros(40))


def test_a_value_far_above_the_rest_costs_the_others_no_precision(made):
    packed, weight, scale = made
    x = torch.randn(1, 48)
    x[0, 7] = 40 * OUTLIER
    far = torch.zeros_like(x)
    far[0, 7] = x[0, 7]
    wanted = (rounded(x - far) + far) @ (weight.float().T * scale)
    torch.testing.assert_close(packed.product(x), wanted)
    together = rounded(x) @ (weight.float().T * scale)
    exact = x @ (weight.float().T * scale)
    assert ((packed.product(x) - exact).norm()
            < 0.1 * (together - exact).norm())


def test_the_gradient_is_that_of_the_floats(made):
    packed, weight, scale = made
    x = torch.randn(3, 48, requires_grad=True)
    packed.product(x).square().sum().backward()
    with torch.no_grad():
        wanted = (2 * packed.product(x)) @ (weight.float() *
                                            scale.unsqueeze(1))
    torch.testing.assert_close(x.grad, wanted)


def test_layers_are_packed_together_and_apart():
    torch.manual_seed(1)
    module = nn.Module()
    module.a, module.b, module.c = Held(16), Held(24, bias=True), Held(8)
    parts = [copy.deepcopy(x.parts) for x in module.children()]
    assert prepack(module, [('a', 'b')]) == 3
    assert module.a.packed is module.b.packed is not module.c.packed
    assert all(layer.parts is None for layer in module.children())
    x = torch.randn(2, 48)
    wanted = [rounded(x) @ (weight.float().T * scale)
              for weight, scale in parts]
    wanted[1] = wanted[1] + module.b.bias
    for found, layer, of_layer in zip(fused_linears((module.a, module.b), x),
                                      (module.a, module.b),
                                      wanted,
                                      strict=False):
        torch.testing.assert_close(found, of_layer)
        torch.testing.assert_close(layer(x), of_layer)
    torch.testing.assert_close(module.c(x), wanted[2])
    assert prepack(module, [('a', 'b')]) == 0
    for layer, (weight, scale) in zip(module.children(), parts, strict=True):
        layer.unpack_int8()
        assert layer.packed is None
        assert torch.equal(layer.parts[0], weight)
        assert torch.equal(layer.parts[1], scale)
