# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Kernels run where they work; everywhere else their plain twins do."""

import logging
import subprocess
import sys

import pytest
import torch

from mmpretrain_minigpt4.ops import triton
from mmpretrain_minigpt4.ops.triton import plain, support


@pytest.fixture
def untried():
    """Forget what was tried out, before and after."""
    support._passes.cache_clear()
    yield
    support._passes.cache_clear()


def test_kernels_work_in_the_types_that_they_are_for(kernels, device):
    for dtype in support.TYPES:
        assert triton.works(device, dtype)
    assert not triton.works(device, torch.float64)
    assert triton.silu_mul(torch.ones(4, device=device).double()).shape == (
        2, )


def test_every_operator_is_a_function_that_runs_its_kernel(
        kernels, device, monkeypatch):
    assert triton.works(device, torch.float32)
    for name in kernels.__all__:
        monkeypatch.setattr(kernels, name, lambda x, name=name: name)
        assert getattr(triton, name)(torch.ones(2, device=device)) == name


def test_where_a_gradient_is_wanted_the_twin_runs(kernels, device):
    x = torch.ones(2, 8, device=device)
    weight = torch.ones(8, device=device, requires_grad=True)
    triton.rms_norm(x, weight, 1e-5).sum().backward()
    assert weight.grad.abs().sum() > 0
    with torch.no_grad():
        assert not triton.rms_norm(x, weight, 1e-5).requires_grad


@pytest.mark.parametrize('name', ['silu_mul', 'rms_norm'])
def test_a_kernel_that_fails_or_errs_is_named_once(kernels, device, name,
                                                   monkeypatch, untried,
                                                   caplog):

    def broken(*args):
        if name == 'silu_mul':
            raise RuntimeError('no such\ninstruction')
        return plain.rms_norm(*args) + 0.1

    monkeypatch.setattr(kernels, name, broken)
    with caplog.at_level(logging.WARNING):
        assert not triton.works(device, torch.float32)
        x = torch.randn(2, 8, device=device)
        assert torch.equal(triton.silu_mul(x), plain.silu_mul(x))
    record, = caplog.records
    message = record.getMessage()
    assert name in message and '\n' not in message
    reason = 'no such instruction' if name == 'silu_mul' else 'not close'
    assert reason in message


def test_on_a_cpu_triton_is_not_even_imported(monkeypatch):
    monkeypatch.delenv('TRITON_INTERPRET', raising=False)
    assert not triton.supported('cpu')
    code = ('import sys, torch; from mmpretrain_minigpt4.ops import triton; '
            'print(triton.silu_mul(torch.zeros(2)), "triton" in sys.modules)')
    done = subprocess.run([sys.executable, '-c', code], text=True,
                          capture_output=True, check=True)
    assert done.stdout.split() == ['tensor([0.])', 'False']


def test_without_triton_nothing_is_supported(monkeypatch):
    monkeypatch.setattr(support, '_has_triton', lambda: False)
    monkeypatch.setenv('TRITON_INTERPRET', '1')
    assert not triton.supported('cpu')
    assert not triton.works('cuda', torch.bfloat16)
