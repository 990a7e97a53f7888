# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Kernels run where they work; everywhere else their reference twins do."""

import logging
import subprocess
import sys

import pytest
import torch

from mmpretrain_minigpt4.ops import native, triton
from mmpretrain_minigpt4.ops.kernels import dispatch as door
from mmpretrain_minigpt4.ops.kernels import reference
from mmpretrain_minigpt4.ops.triton import support


@pytest.fixture
def untried():
    """Forget what was tried out, before and after."""
    door._passes_selftest.cache_clear()
    yield
    door._passes_selftest.cache_clear()


def test_kernels_work_in_the_types_that_they_are_for(way, device, kernels):
    kind = 'native' if way == 'native' else 'triton'
    with torch.no_grad():
        for dtype in door.TYPES[kind]:
            assert door.available(device, dtype) == kind
            assert door.operators(device, dtype) is kernels
        assert door.available(device, torch.float64) is None
        assert door.operators(device, torch.float64) is reference


def test_kernels_of_a_cpu_hand_on_what_they_cannot_read():
    if not native.instructions():
        pytest.skip('the kernels for CPUs are not compiled')
    from mmpretrain_minigpt4.ops.native import decode
    x, weight = torch.randn(2, 3, 8, dtype=torch.float64), torch.ones(8)
    assert torch.equal(decode.silu_mul(x), reference.silu_mul(x))
    assert torch.equal(decode.rms_norm(x, weight, 1e-5),
                       reference.rms_norm(x, weight, 1e-5))


def test_they_can_be_switched_off_and_are_where_a_gradient_is_wanted(
        kernels, device):
    with torch.no_grad():
        assert door.operators(device, torch.float32) is kernels
        with door.disabled():
            assert door.operators(device, torch.float32) is reference
            with door.disabled(False):
                assert not door.available(device, torch.float32)
        with door.disabled(False):
            assert door.operators(device, torch.float32) is kernels
    assert door.operators(device, torch.float32) is reference


@pytest.mark.parametrize('name', ['silu_mul', 'rms_norm'])
def test_a_kernel_that_fails_or_errs_is_named_once(kernels, device, name,
                                                   monkeypatch, untried,
                                                   caplog):

    def broken(*args):
        if name == 'silu_mul':
            raise RuntimeError('no such\ninstruction')
        return reference.rms_norm(*args) + 0.1

    monkeypatch.setattr(kernels, name, broken)
    with caplog.at_level(logging.WARNING), torch.no_grad():
        assert not door.available(device, torch.float32)
        assert door.operators(device, torch.float32) is reference
    record, = caplog.records
    message = record.getMessage()
    assert name in message and '\n' not in message
    reason = 'no such' if name == 'silu_mul' else 'not close'
    assert reason in message


def test_on_a_cpu_triton_is_not_even_imported(monkeypatch):
    monkeypatch.delenv('TRITON_INTERPRET', raising=False)
    assert not triton.supported('cpu')
    code = ('import sys, torch; from mmpretrain_minigpt4.ops import kernels; '
            'torch.set_grad_enabled(False); '
            'found = kernels.operators(torch.device("cpu"), torch.float32); '
            'print(found.silu_mul(torch.zeros(2)), "triton" in sys.modules)')
    done = subprocess.run([sys.executable, '-c', code], text=True,
                          capture_output=True, check=True)
    assert done.stdout.split() == ['tensor([0.])', 'False']


def test_without_triton_nothing_is_supported(monkeypatch):
    monkeypatch.setattr(support, '_has_triton', lambda: False)
    monkeypatch.setenv('TRITON_INTERPRET', '1')
    assert not triton.supported('cpu')
    assert not door.available('cuda', torch.bfloat16)
