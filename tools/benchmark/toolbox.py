# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""P3: the toolbox's own MiniGPT4, in an environment of its own.

It cannot be built beside the transformers that this package needs, so it is
asked in a process of another Python, after ours was measured here.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from mmpretrain_minigpt4.assets import resolve
from mmpretrain_minigpt4.errors import BenchmarkError

from .clock import Sample
from .dims import Dims, llama_settings
from .records import Record

SCRIPT = Path(__file__).with_name('toolbox_script.py')
WANTED = ('Give a Python of an environment with mmpretrain 1.2 and '
          'transformers 4.49: pip install torch mmcv-lite mmpretrain '
          "'transformers==4.49.*' sentencepiece 'setuptools<82'.")


def check_python(python: str) -> None:
    """Tell at once whether P3 can be built.

    Raises:
        BenchmarkError: If there is no such program, or it lacks a package.
    """
    if shutil.which(python) is None:
        raise BenchmarkError(f'There is no program {python!r}. {WANTED}')
    _run([python, str(SCRIPT), '--check'])


def add_peer(python: str, dims: Dims, records: Sequence[Record],
             threads: int) -> list[Record]:
    """Put P3 beside the float32 rows of a CPU that it can do.

    Weights are random and others than ours: the toolbox writes its prompt
    in other words, and its model cannot be given ours. The work is the same
    by shape.

    Args:
        python: As of :func:`check_python`.
        dims: The size.
        records: Measured ones; those that P3 can do get it as a peer.
        threads: Of torch.

    Returns:
        list: The records that got it.

    Raises:
        BenchmarkError: If it cannot be measured.
    """
    jobs = {}
    for record in records:
        kind = record.row.partition(',')[0]
        if (record.value is None or kind not in ('vision', 'decode',
                                                 'whole caption')
                or record.settings.get('dtype') != 'float32'
                or 'num_beams' in record.settings
                or 'quantization' in record.settings):
            continue
        jobs[record.row] = dict(
            kind=kind, rounds=record.rounds, **record.settings)
    if not jobs:
        return []
    with tempfile.TemporaryDirectory() as folder:
        task = dict(
            dims=dims.to_dict(),
            llama=llama_settings(dims),
            tokenizer=str(resolve('asset://tiny/llm')),
            folder=folder,
            threads=threads,
            jobs=jobs)
        path = Path(folder) / 'task.json'
        path.write_text(json.dumps(task), encoding='utf-8')
        found = json.loads(_run([python, str(SCRIPT), str(path)]))
    amended = []
    for record in records:
        if record.row in jobs:
            sample = Sample(tuple(found['rows'][record.row]))
            record.peers['P3'] = dict(
                value=sample.median,
                spread=sample.spread,
                ratio=record.value / sample.median,
                ratio_spread=None)
            record.context['versions'] = dict(
                record.context['versions'], P3=found['versions'])
            amended.append(record)
    return amended


def _run(command: Sequence[str]) -> str:
    """The last line that a process prints.

    Raises:
        BenchmarkError: If it fails; with the last line of its complaint.
    """
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise BenchmarkError(
            f'{command[0]} cannot be run: {error.strerror}. {WANTED}'
        ) from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ['no message']
        raise BenchmarkError(
            f'The toolbox\'s own MiniGPT4 cannot be measured with '
            f'{command[0]}: {lines[-1]}. {WANTED}')
    return done.stdout.strip().splitlines()[-1]
