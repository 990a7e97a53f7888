# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The compiled library, for every instruction set that this CPU has."""

import pytest
import torch

from mmpretrain_minigpt4.ops.native import instructions, library


def known_sets():
    if not instructions():
        return ['none']
    order = ['baseline', 'avx2', 'avx512', 'avx512vnni']
    return order[:order.index(instructions()) + 1]


@pytest.fixture
def set_threads():
    """Set PyTorch's threads, for one test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture(params=known_sets())
def instruction_set(request, monkeypatch):
    """Use the code of one set, the best one or a lesser."""
    if request.param == 'none':
        pytest.skip('the kernels for CPUs are not compiled')
    torch.manual_seed(0)
    monkeypatch.setattr(library, 'instructions', lambda: request.param)
    library.function.cache_clear()
    yield request.param
    library.function.cache_clear()
