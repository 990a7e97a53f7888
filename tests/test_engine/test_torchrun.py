# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The tiny twin's second stage under the real torchrun, on CPUs."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmpretrain_minigpt4.engine.checkpointing.snapshot import list_snapshots

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
STAGE2 = ROOT / 'configs' / 'minigpt4' / 'minigpt-4_tiny_stage2.py'
TORCHRUN = [sys.executable, '-m', 'torch.distributed.run', '--standalone',
            '--nproc-per-node=2']

CONFIG = f"""
_base_ = {str(STAGE2)!r}
custom_imports = dict(imports=['accidents'])
train_dataloader = dict(batch_size=2, dataset=dict(num_scenes=40))
train_cfg = dict(max_iters=12)
default_hooks = dict(checkpoint=dict(interval=3))
custom_hooks = [dict(type='Accident')]
"""
ACCIDENTS = """
import os
import time
from pathlib import Path

from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class Accident(Hook):

    def after_train_iter(self, runner, batch_idx, **others):
        mark = Path(runner.work_dir) / 'dies'
        if batch_idx == 4 and os.environ['RANK'] == '1' and mark.exists():
            mark.unlink()
            os._exit(7)
        if (Path(runner.work_dir) / 'slow').exists():
            time.sleep(0.3)
"""


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """A folder with the config and a hook; its run ``whole`` is done."""
    folder = tmp_path_factory.mktemp('torchrun')
    (folder / 'config.py').write_text(CONFIG)
    (folder / 'accidents.py').write_text(ACCIDENTS)
    done = start(folder, 'whole', TORCHRUN)
    assert finish(done) == 0, said(folder, 'whole')
    return folder


def start(folder, name, launcher, script=('tools/train.py', ), *more,
          suffix='', **variables):
    """Start a run; what it says goes to a file of its name."""
    env = dict(
        os.environ, OMP_NUM_THREADS='1', CUDA_VISIBLE_DEVICES='',
        PYTHONPATH=f'{ROOT}{os.pathsep}{folder}',
        PATH=f'{Path(sys.executable).parent}{os.pathsep}'
        f'{os.environ["PATH"]}', **variables)
    words = [*launcher, str(ROOT / script[0]), str(folder / 'config.py'),
             *script[1:], *more, '--work-dir', str(folder / name)]
    if launcher:
        words += ['--launcher', 'pytorch']
    with (folder / f'{name}{suffix}.log').open('w') as log:
        return subprocess.Popen(words, env=env, cwd=folder, stdout=log,
                                stderr=log)


def finish(process):
    """Its exit code."""
    try:
        return process.wait(timeout=400)
    finally:
        if process.poll() is None:
            process.terminate()  # handed on, and then by force
            process.wait(timeout=60)


def said(folder, name):
    return (folder / f'{name}.log').read_text()


def end(folder, name):
    """What was trained, to the last bit."""
    return (folder / name / 'iter_000012' / 'trained.safetensors'
            ).read_bytes()


def test_torchrun_starts_a_run_again_when_a_process_dies(place):
    (place / 'dead').mkdir()
    (place / 'dead' / 'dies').touch()
    process = start(place, 'dead', [*TORCHRUN, '--max-restarts=1'],
                    ('tools/train.py', '--resume'))
    assert finish(process) == 0, said(place, 'dead')
    text = said(place, 'dead')
    assert 'exitcode: 7' in text and 'Resumed from' in text
    assert 'iter_000003 after 3 steps' in text
    assert end(place, 'dead') == end(place, 'whole')


def test_without_restarts_a_process_that_dies_ends_the_job(place):
    (place / 'ended').mkdir()
    (place / 'ended' / 'dies').touch()
    process = start(place, 'ended', TORCHRUN)
    assert finish(process) == 1
    text = said(place, 'ended')
    assert 'exitcode  : 7' in text and 'rank      : 1' in text
    assert [x.name for x in list_snapshots(place / 'ended')] == [
        'iter_000003']


def test_sigterm_to_torchrun_saves_once_and_the_run_goes_on(place):
    (place / 'cut').mkdir()
    (place / 'cut' / 'slow').touch()
    process = start(place, 'cut', TORCHRUN)
    while not list_snapshots(place / 'cut'):
        assert process.poll() is None, said(place, 'cut')
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    # torchrun's own code for a signal; each process ends with 143.
    assert finish(process) == 1
    text = said(place, 'cut')
    assert text.count('SIGTERM: the run ends after this step') == 2
    saved = [x.name for x in list_snapshots(place / 'cut')]
    assert 'iter_000012' not in saved
    assert text.count('Saved ') == len(saved)
    (place / 'cut' / 'slow').unlink()
    process = start(place, 'cut', TORCHRUN, ('tools/train.py', '--resume'),
                    suffix='_rest')
    assert finish(process) == 0, said(place, 'cut_rest')
    assert f'{saved[0]} after' in said(place, 'cut_rest')
    assert end(place, 'cut') == end(place, 'whole')


def test_two_machines_train_what_one_does_though_a_process_dies(place):
    (place / 'nodes').mkdir()
    (place / 'nodes' / 'dies').touch()
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    both = [
        start(place, 'nodes', [], ('tools/dist_train.sh', '1', '--resume'),
              suffix=str(node), NNODES='2', NODE_RANK=str(node),
              MASTER_ADDR='127.0.0.1', PORT=str(port), MAX_RESTARTS='1')
        for node in (0, 1)
    ]
    codes = [finish(x) for x in both]
    first, second = said(place, 'nodes0'), said(place, 'nodes1')
    assert codes == [0, 0], first + second
    # Each machine starts its own process again.
    assert 'lost another process' in first and 'exitcode: 7' in second
    assert end(place, 'nodes') == end(place, 'whole')
    # The first process of all writes, alone.
    assert 'Saved ' in first and 'Saved ' not in second
