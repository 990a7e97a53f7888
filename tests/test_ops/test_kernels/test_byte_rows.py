# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""A few tokens times weights of a byte a number, beside float64."""

import logging

import pytest
import torch
from in_float64 import error, wide

from mmpretrain_minigpt4.ops import byte_linear as door

KINDS = [torch.int8, torch.float8_e4m3fn]


@pytest.fixture(params=[
    'interpreter', pytest.param('cuda', marks=pytest.mark.gpu)])
def way(request):
    return request.param


def draw(rows, inputs, outputs, dtype, kind, device):
    x = torch.randn(rows, inputs)
    weight = 50 * torch.randn(outputs, inputs)
    return (x.to(device, dtype), weight.clamp(-127, 127).to(kind).to(device),
            torch.rand(outputs, 1).to(device))


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('dtype, close', [
    (torch.float32, 1e-6), (torch.bfloat16, 8e-3)])
@pytest.mark.parametrize('rows, inputs, outputs', [
    (1, 256, 16), (3, 300, 37), (16, 512, 5)])
def test_products_are_those_of_float64(
        device, kind, dtype, close, rows, inputs, outputs):
    x, weight, scales = draw(rows, inputs, outputs, dtype, kind, device)
    found = door.byte_linear(x.unsqueeze(1), weight, scales)
    assert found.shape == (rows, 1, outputs) and found.dtype == dtype
    wanted = wide(x) @ (wide(weight.float()) * wide(scales)).t()
    assert error(found.squeeze(1), wanted) < close
    assert error(door.plain(x, weight, scales.flatten()), wanted) < close


def test_many_tokens_go_another_way(device):
    x, weight, scales = draw(17, 32, 16, torch.float32, torch.int8, device)
    assert door.byte_linear(x, weight, scales) is None
    assert door.byte_linear(x[:0], weight, scales) is None


def test_nothing_is_tried_on_a_cpu(monkeypatch):
    monkeypatch.setenv('TRITON_INTERPRET', '0')
    cpu = torch.device('cpu')
    x, weight, scales = draw(1, 32, 16, torch.float32, torch.int8, cpu)
    assert door.byte_linear(x, weight, scales) is None


def test_a_kernel_that_is_wrong_is_left_out_and_named(
        device, monkeypatch, caplog):
    from mmpretrain_minigpt4.ops.triton import byte_rows
    monkeypatch.setattr(byte_rows, 'byte_linear',
                        lambda x, weight, scales: x[:, :1] * scales)
    door._works.cache_clear()
    x, weight, scales = draw(1, 32, 16, torch.float32, torch.int8, device)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert door.byte_linear(x, weight, scales) is None
    door._works.cache_clear()
    said, = (record.getMessage() for record in caplog.records)
    assert 'int8 go without a kernel' in said and 'not close' in said
