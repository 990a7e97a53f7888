# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Where kernels are tested: those of a CPU there, those of a GPU on one, or
else in Triton's interpreter."""

import pytest
import torch

from mmpretrain_minigpt4.ops.native import decode, instructions

EVERYWHERE = [
    'native', 'interpreter', pytest.param('cuda', marks=pytest.mark.gpu)]


@pytest.fixture(params=EVERYWHERE)
def way(request):
    """By which way the kernels are made."""
    return request.param


@pytest.fixture
def device(way, monkeypatch):
    torch.manual_seed(0)
    if way == 'native':
        if not instructions():
            pytest.skip('the kernels for CPUs are not compiled')
        monkeypatch.delenv('TRITON_INTERPRET', raising=False)
        return torch.device('cpu')
    pytest.importorskip('triton', reason='Triton is not installed')
    if way == 'cuda':
        return torch.device('cuda')
    if torch.cuda.is_available():
        pytest.skip('with a GPU, kernels are tested on it')
    monkeypatch.setenv('TRITON_INTERPRET', '1')
    return torch.device('cpu')


@pytest.fixture
def kernels(way, device):
    """The module of the kernels; Triton's would fail to import earlier."""
    if way == 'native':
        return decode
    from mmpretrain_minigpt4.ops.triton import kernels
    return kernels
