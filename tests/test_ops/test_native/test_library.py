# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Which code of the compiled library is used, and what goes without it."""

import logging
import platform
import subprocess
import sys

import pytest
import torch

from mmpretrain_minigpt4.ops import attention, kernels
from mmpretrain_minigpt4.ops.kernels.selftest import check
from mmpretrain_minigpt4.ops.linear import prepacked_int8
from mmpretrain_minigpt4.ops.native import (
    decode as step,
)
from mmpretrain_minigpt4.ops.native import (
    instructions,
    library,
)
from mmpretrain_minigpt4.ops.native.int8 import Int8Panels, has_int8

needs_library = pytest.mark.skipif(
    not instructions(), reason='the kernels for CPUs are not compiled')


@pytest.fixture
def forgotten():
    """Forget what was found, before and after."""
    known = (library.instructions, library.function, library._open)
    for function in known:
        function.cache_clear()
    yield
    for function in known:
        function.cache_clear()


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16], ids=str)
def test_each_instruction_set_gives_what_the_plain_twins_give(
        instruction_set, dtype):
    check(step, torch.device('cpu'), dtype)


@needs_library
def test_pytorch_says_what_the_cpu_can_do(forgotten, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, 'get_cpu_capability',
                        lambda: 'DEFAULT')
    library.instructions.cache_clear()
    assert library.instructions() == 'baseline'
    monkeypatch.setattr(torch.backends.cpu, 'get_cpu_capability',
                        lambda: 'AVX2')
    library.instructions.cache_clear()
    assert library.instructions() == (
        'avx2' if platform.machine() in ('x86_64', 'AMD64') else 'baseline')


def test_without_a_library_all_goes_on(forgotten, monkeypatch, tmp_path):
    monkeypatch.setattr(library, 'FILE', tmp_path / 'none.so')
    assert library.instructions() is None
    assert kernels.available('cpu', torch.float32) is None
    assert prepacked_int8._best_kind() in (prepacked_int8.FbgemmWeight, None)
    with torch.no_grad():
        assert kernels.operators(
            torch.device('cpu'), torch.float32) is kernels.reference


@needs_library
def test_a_library_of_other_sources_is_named_and_left_alone(
        forgotten, monkeypatch, tmp_path, caplog):
    (tmp_path / 'rows.cpp').write_text('// newer\n')
    monkeypatch.setattr(library, 'SOURCES', tmp_path)
    with caplog.at_level(logging.WARNING):
        assert library.instructions() is None
    said, = (record.getMessage() for record in caplog.records)
    assert 'build_ext --inplace' in said


def test_a_trace_does_not_take_what_kernels_give_for_a_constant():
    x = torch.randn(1, 2, 9, 8)
    with torch.no_grad():
        traced = torch.jit.trace(lambda q: attention(q, q, q), x)
        assert not torch.equal(traced(x), traced(2 * x))
        torch.testing.assert_close(traced(2 * x), attention(*[2 * x] * 3))


@needs_library
def test_threads_are_those_of_pytorch():
    """Two pools of threads would take the cores from each other."""
    code = ('import torch; from mmpretrain_minigpt4.ops.native import '
            'instructions; instructions(); '
            'maps = open("/proc/self/maps").read(); '
            'print(*{x.split()[-1] for x in maps.splitlines() '
            'if "libgomp" in x})')
    if not sys.platform.startswith('linux'):
        pytest.skip('looks at /proc')
    done = subprocess.run([sys.executable, '-c', code], text=True,
                          capture_output=True, check=True)
    assert len(done.stdout.split()) == 1


@pytest.mark.skipif(not has_int8(), reason='this CPU has no VNNI, or the '
                    'kernels for CPUs are not compiled')
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize('rows, inputs, outputs', [
    (1, 64, 64), (9, 52, 70), (13, 7, 3), (70, 130, 200)])
def test_8_bit_products_are_exact_in_their_integers(
        dtype, rows, inputs, outputs):
    torch.manual_seed(0)
    weight = torch.randint(-128, 128, (outputs, inputs), dtype=torch.int8)
    scale = torch.rand(outputs) + 0.1
    panels = Int8Panels(weight, scale)
    assert torch.equal(panels.parts()[0], weight)
    assert torch.equal(panels.parts()[1], scale)
    # Whole numbers, and one of the largest size: nothing is rounded away.
    x = torch.randint(-127, 128, (rows, inputs)).float()
    x[:, 0] = 127
    wanted = (x.double() @ weight.double().t()) * scale.double()
    found = panels.product(x.to(dtype), 1e9)
    assert found.dtype == dtype and found.shape == (rows, outputs)
    close = dict(rtol=1e-5, atol=1e-2) if dtype == torch.float32 else dict(
        rtol=8e-3, atol=1e-2)
    torch.testing.assert_close(found.double(), wanted, **close)
    # What is above a limit is multiplied apart, and exactly so.
    x[::2, inputs // 2] = 127 * 254
    wanted = (x.double() @ weight.double().t()) * scale.double()
    found = panels.product(x.to(dtype), 500.)
    torch.testing.assert_close(found.double(), wanted, **(
        close | dict(rtol=max(close['rtol'], 2e-5))))


@pytest.mark.skipif(not has_int8(), reason='this CPU has no VNNI, or the '
                    'kernels for CPUs are not compiled')
@pytest.mark.parametrize('bad', [torch.nan, torch.inf, -torch.inf])
def test_8_bit_products_of_what_is_no_number_are_none(bad):
    panels = Int8Panels(torch.ones(3, 40, dtype=torch.int8), torch.ones(3))
    x = torch.zeros(3, 40)
    x[0], x[1, 5], x[2] = 1, bad, 0
    found = panels.product(x, 6.)
    torch.testing.assert_close(found[0], torch.full((3, ), 40.))
    assert not found[1].isfinite().any()
    assert torch.equal(found[2], torch.zeros(3))
