# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Products in float8: near, with a gradient, and refused where they can't."""

import pytest
import torch
from torch import nn

from mmpretrain_minigpt4.errors import ConfigError
from mmpretrain_minigpt4.llm.quantization.fp8 import fp8
from mmpretrain_minigpt4.llm.quantization.methods import (
    check,
    is_quantized,
    weight_bytes,
)


@pytest.fixture
def plain():
    torch.manual_seed(0)
    return nn.Linear(64, 48).requires_grad_(False)


def far(found, wanted):
    return ((found - wanted).norm() / wanted.norm()).item()


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_products_and_gradients_stay_near(plain, dtype):
    plain.bias = None  # or the small row would be lost in it
    layer = fp8(plain, 'a')
    x = torch.randn(2, 5, 64) * torch.tensor([1e-3, 30.0]).view(2, 1, 1)
    x[0, 0] = 0  # a row that has no largest number
    found_x = x.to(dtype).requires_grad_()
    found = layer(found_x)
    assert found.shape == (2, 5, 48) and found.dtype == dtype
    x.requires_grad_()
    wanted = plain(x)
    assert 0 < far(found.float(), wanted) < 0.04
    # Each row has its own scale: small ones are as near.
    assert far(found.float()[0], wanted[0]) < 0.04
    weights = torch.randn_like(wanted)
    (wanted * weights).sum().backward()
    (found.float() * weights).sum().backward()
    assert far(found_x.grad.float(), x.grad) < 0.04


def test_a_weight_takes_a_byte_and_its_row_a_scale(plain):
    layer = fp8(plain, 'a')
    assert is_quantized(layer)
    assert weight_bytes(layer) == 48 * 64 + 48 * 4 + 48 * 4  # the bias too
    # What gives frozen parts their type leaves the weights what they are.
    layer.to(torch.bfloat16)
    assert layer.weight.qdata.dtype == torch.float8_e4m3fn


def test_a_shape_that_does_not_suit_is_named():
    with pytest.raises(ConfigError, match='mlp.up_proj has 24 x 16'):
        fp8(nn.Linear(16, 24), 'mlp.up_proj')


@pytest.mark.parametrize('capability, said', [
    (None, 'there is none here'), ((8, 0), 'this one has 8.0')])
def test_without_such_a_gpu_it_is_refused(monkeypatch, capability, said):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: bool(capability))
    monkeypatch.setattr(torch.cuda, 'get_device_capability',
                        lambda: capability)
    with pytest.raises(ConfigError, match=f'8.9 or later.*{said}'):
        check('fp8')


def test_a_bias_is_added(plain):
    layer, x = fp8(plain, 'a'), torch.randn(3, 64)
    with_bias = layer(x)
    layer.bias = None
    torch.testing.assert_close(with_bias, layer(x) + plain.bias)


@pytest.mark.gpu
def test_on_a_gpu_it_computes_what_it_does_on_a_cpu(plain):
    layer = fp8(plain, 'a')
    x = torch.randn(5, 64)
    wanted = layer(x)
    assert far(layer.cuda()(x.cuda()).cpu(), wanted) < 0.01
