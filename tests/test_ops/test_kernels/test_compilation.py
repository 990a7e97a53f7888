# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""What the compiler makes of the kernels, looked up without a GPU."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name('compile_for_h100.py')
ROOT = Path(__file__).parents[3]


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != 'x86_64' or sys.platform != 'linux',
                    reason='needs the assembler in a wheel of Triton')
def test_kernels_compile_for_an_h100_and_read_16_bytes_at_a_time(tmp_path):
    pytest.importorskip('triton', reason='Triton is not installed')
    environment = {**os.environ, 'TRITON_CACHE_DIR': str(tmp_path),
                   'TRITON_INTERPRET': '0', 'PYTHONPATH': str(ROOT)}
    done = subprocess.run([sys.executable, SCRIPT], text=True, env=environment,
                          capture_output=True)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert {line['name'] for line in lines} == {
        '_norm', '_silu_mul', '_apply_rope_and_write', 'attend_single',
        'attend_grouped', 'merge_parts', '_int8_gemv'}
    for line in lines:
        assert line['stack'] == 0, f'registers are spilled: {line}'
        assert line['shared'] <= 227 * 1024, line
        if line['name'] in ('_norm', '_silu_mul', 'attend_single'):
            # All but a length, and the last elements of a query.
            assert line['wide'] >= 2 and line['narrow'] <= 2, line
        if line['name'] in ('attend_grouped', '_int8_gemv'):
            assert line['wide'] >= 16, line
