# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Where the kernels are tested: on a GPU, or else in Triton's interpreter."""

import pytest
import torch

BOTH = ['interpreter', pytest.param('cuda', marks=pytest.mark.gpu)]


@pytest.fixture(params=BOTH)
def device(request, monkeypatch):
    torch.manual_seed(0)
    pytest.importorskip('triton', reason='Triton is not installed')
    if request.param == 'cuda':
        return torch.device('cuda')
    if torch.cuda.is_available():
        pytest.skip('with a GPU, kernels are tested on it')
    monkeypatch.setenv('TRITON_INTERPRET', '1')
    return torch.device('cpu')


@pytest.fixture
def kernels(device):
    """The module of the kernels, which would fail to import earlier."""
    from mmpretrain_minigpt4.ops.triton import kernels
    return kernels
