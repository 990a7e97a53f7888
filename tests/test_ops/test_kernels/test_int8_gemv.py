# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""A few tokens times weights of a byte a number, beside float64."""

import logging

import pytest
import torch
from helpers.float64_reference import error, wide

from mmpretrain_minigpt4.ops import kernels
from mmpretrain_minigpt4.ops.linear import int8_chunked
from mmpretrain_minigpt4.ops.linear import int8_gemv as door
from mmpretrain_minigpt4.ops.native import instructions

KINDS = [torch.int8, torch.float8_e4m3fn]



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
        way, device, kind, dtype, close, rows, inputs, outputs):
    rows = min(rows, door.MOST_ROWS['native'] if way == 'native' else 16)
    if way == 'native' and kind != torch.int8:
        pytest.skip('there is no kernel for float8 on a CPU')
    x, weight, scales = draw(rows, inputs, outputs, dtype, kind, device)
    found = door.int8_gemv(x.unsqueeze(1), weight, scales)
    assert found.shape == (rows, 1, outputs) and found.dtype == dtype
    wanted = wide(x) @ (wide(weight.float()) * wide(scales)).t()
    assert error(found.squeeze(1), wanted) < close
    assert error(door.plain(x, weight, scales.flatten()), wanted) < close


def test_many_tokens_go_another_way(device):
    x, weight, scales = draw(17, 32, 16, torch.float32, torch.int8, device)
    assert door.int8_gemv(x, weight, scales) is None
    assert door.int8_gemv(x[:0], weight, scales) is None


def test_kernels_of_a_cpu_are_for_8_bit_integers_and_can_be_switched_off(
        monkeypatch):
    monkeypatch.setenv('TRITON_INTERPRET', '0')
    cpu = torch.device('cpu')
    for kind in KINDS:
        x, weight, scales = draw(1, 32, 16, torch.float32, kind, cpu)
        found = door.int8_gemv(x, weight, scales)
        assert (found is not None) == (kind == torch.int8
                                       and instructions() is not None)
        assert door.int8_gemv(x.double(), weight, scales) is None
        with kernels.disabled():
            assert door.int8_gemv(x, weight, scales) is None


@pytest.mark.parametrize('dtype, close', [
    (torch.float32, 1e-6), (torch.bfloat16, 8e-3)])
def test_weights_are_widened_part_by_part(monkeypatch, dtype, close):
    monkeypatch.setattr(int8_chunked, 'NUMBERS', 100)
    x, weight, scales = draw(12, 30, 17, dtype, torch.int8, 'cpu')
    whole = wide(weight.float()) * wide(scales)
    found = int8_chunked.product(x.view(3, 4, 30), weight, scales)
    assert found.shape == (3, 4, 17) and found.dtype == dtype
    assert error(found.flatten(0, 1), wide(x) @ whole.t()) < close
    back = int8_chunked.gradient(found, weight, scales)
    assert back.shape == (3, 4, 30) and back.dtype == dtype
    assert error(back, wide(found) @ whole) < 2 * close


def test_a_kernel_that_is_wrong_is_left_out_and_named(
        way, device, monkeypatch, caplog):
    if way == 'native':
        from mmpretrain_minigpt4.ops.native import int8_gemv as byte_rows
    else:
        from mmpretrain_minigpt4.ops.triton import int8_gemv as byte_rows
    monkeypatch.setattr(byte_rows, 'int8_gemv',
                        lambda x, weight, scales: x[:, :1] * scales)
    door._works.cache_clear()
    x, weight, scales = draw(1, 32, 16, torch.float32, torch.int8, device)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert door.int8_gemv(x, weight, scales) is None
    door._works.cache_clear()
    said, = (record.getMessage() for record in caplog.records)
    assert 'int8 go without a kernel' in said and 'not close' in said
