# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints on disk: whole or absent, whatever happens."""

import json
import os
import pickle
import random
import resource
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
import torch
from helpers.processes import fork

from mmpretrain_minigpt4.engine.checkpointing import snapshot
from mmpretrain_minigpt4.engine.checkpointing.snapshot import (
    list_snapshots,
    newest_whole,
    prune,
    read_snapshot,
    remove_leftovers,
    set_aside,
    write_snapshot,
)
from mmpretrain_minigpt4.errors import CheckpointError


def tensors(seed, size=64):
    numbers = torch.full((size, ), float(seed))
    return dict(trained={'w': numbers}, optimizer={'w.step': numbers[:1]})


def write(root, iteration, size=64):
    return write_snapshot(root, iteration, tensors(iteration, size),
                          dict(note=f'step {iteration}'))


def assert_whole(found, least=1):
    assert found is not None and found.iteration >= least
    assert found.state['note'] == f'step {found.iteration}'
    assert (found.tensors('trained')['w'] == found.iteration).all()


def in_child(action):
    """Run in a process of its own that shares what is imported."""
    child = fork()
    if child == 0:
        code = 99
        try:
            action()
            code = 0
        except CheckpointError as error:
            code = 3 if '\n' not in str(error) else 98
        finally:
            os._exit(code)
    return child


def exit_code(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_checkpoint_comes_back_as_it_was(tmp_path):
    path = write(tmp_path, 500)
    assert path.name == 'iter_000500'
    assert sorted(x.name for x in path.iterdir()) == [
        'optimizer.safetensors', 'state.json', 'trained.safetensors'
    ]
    assert_whole(read_snapshot(path), 500)


def test_the_newest_is_found_by_its_number(tmp_path):
    for iteration in (999_999, 1_000_000, 5):
        write(tmp_path, iteration)
    assert newest_whole(tmp_path)[0].iteration == 1_000_000


@pytest.mark.parametrize(
    'name', ['state.json', 'trained.safetensors', 'optimizer.safetensors'])
@pytest.mark.parametrize('fault', ['flip', 'cut', 'empty', 'gone'])
def test_a_broken_checkpoint_is_passed_over(tmp_path, name, fault):
    write(tmp_path, 1)
    path = write(tmp_path, 2) / name
    content = path.read_bytes()
    if fault == 'flip':
        middle = len(content) // 2
        content = (content[:middle] + bytes([content[middle] ^ 1]) +
                   content[middle + 1:])
        path.write_bytes(content)
    elif fault == 'gone':
        path.unlink()
    else:
        path.write_bytes(content[:-1] if fault == 'cut' else b'')
    found, problems = newest_whole(tmp_path)
    assert_whole(found, 1)
    assert found.iteration == 1
    assert len(problems) == 1 and 'iter_000002' in problems[0]


def test_nothing_in_a_checkpoint_is_executed(tmp_path):
    canary = tmp_path / 'canary'

    class Payload:

        def __reduce__(self):
            return os.system, (f'touch {canary}', )

    path = write(tmp_path, 1)
    (path / 'trained.safetensors').write_bytes(pickle.dumps(Payload()))
    state = json.loads((path / 'state.json').read_text())
    for content in (state, [], 'x', {'format': snapshot.FORMAT},
                    dict(state, files={'../x': {}}),
                    dict(state, config=f'import os; os.system("{canary}")')):
        (path / 'state.json').write_text(json.dumps(content))
        with pytest.raises(CheckpointError):
            read_snapshot(path)
    (path / 'state.json').write_text('[' * 100_000)
    with pytest.raises(CheckpointError, match='not a whole checkpoint'):
        read_snapshot(path)
    assert not canary.exists()


def test_a_file_of_the_toolbox_is_refused(tmp_path):
    file = tmp_path / 'iter_500.pth'
    file.write_bytes(b'x')
    with pytest.raises(CheckpointError, match='is a file'):
        read_snapshot(file)


def test_a_later_format_asks_for_the_later_package(tmp_path, monkeypatch):
    monkeypatch.setattr(snapshot, 'VERSION', 2)
    path = write(tmp_path, 1)
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match='later version'):
        read_snapshot(path)


def test_only_the_newest_are_kept(tmp_path):
    for iteration in range(1, 6):
        write(tmp_path, iteration)
    assert len(prune(tmp_path, 2)) == 3
    assert [x.name for x in list_snapshots(tmp_path)
            ] == ['iter_000005', 'iter_000004']
    assert len(list(tmp_path.iterdir())) == 2


def test_nothing_set_aside_is_lost(tmp_path):
    for _ in range(2):
        set_aside([write(tmp_path, 7)])
    for number in '12':
        assert_whole(read_snapshot(
            tmp_path / 'superseded' / number / 'iter_000007'))
    assert newest_whole(tmp_path) == (None, [])


def test_a_training_state_of_7b_takes_at_most_40_mb(tmp_path):
    weight, bias = torch.rand(4096, 768), torch.rand(4096)
    assert weight.numel() + bias.numel() == 3_149_824
    layer = torch.nn.Linear(768, 4096)
    optimizer = torch.optim.AdamW(layer.parameters())
    layer.weight.grad, layer.bias.grad = weight, bias
    optimizer.step()
    from mmpretrain_minigpt4.engine.checkpointing.run_state import (
        optimizer_state,
        random_state,
        trained_parameters,
    )
    moments, plain = optimizer_state(layer, optimizer)
    path = write_snapshot(
        tmp_path, 1,
        dict(
            trained=trained_parameters(layer),
            optimizer=moments,
            random=random_state()), dict(optimizer=plain))
    size = sum(file.stat().st_size for file in path.iterdir())
    assert 37_000_000 < size <= 40_000_000


CALLS = ('fsync', 'rename', 'replace', 'mkdir', 'open')


def test_a_kill_at_any_call_leaves_a_whole_checkpoint(tmp_path, monkeypatch):
    write(tmp_path, 1)
    last = None
    for number in range(1, 60):

        def write_and_die(number=number):
            count = iter(range(1, number))

            def dying(real):

                def call(*args, **kwargs):
                    if next(count, None) is None:
                        os.kill(os.getpid(), signal.SIGKILL)
                    return real(*args, **kwargs)

                return call

            for name in CALLS:
                setattr(os, name, dying(getattr(os, name)))
            write(tmp_path, number + 1)

        last = exit_code(in_child(write_and_die))
        found, problems = newest_whole(tmp_path)
        assert_whole(found)
        assert problems == []
        remove_leftovers(tmp_path)
        if last == 0:
            break
    assert last == 0 and number > 8
    assert found.iteration == number + 1


def kill_at_random(root, times):
    rng = random.Random(0)
    write(root, 1)
    newest = 1

    def write_for_ever(first):
        for iteration in range(first, first + 100_000):
            write(root, iteration, size=200_000)
            prune(root, 2)

    for _ in range(times):
        child = in_child(lambda first=newest + 1: write_for_ever(first))
        time.sleep(rng.uniform(0.002, 0.15))
        os.kill(child, signal.SIGKILL)
        assert exit_code(child) == -signal.SIGKILL
        remove_leftovers(root)
        found, problems = newest_whole(root)
        assert_whole(found, newest)
        assert problems == []
        newest = found.iteration
    assert newest > 1


def test_kills_at_random_moments_leave_a_whole_checkpoint(tmp_path):
    kill_at_random(tmp_path, 8)


@pytest.mark.slow
def test_a_hundred_kills_leave_a_whole_checkpoint(tmp_path):
    kill_at_random(tmp_path, 100)


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path):
    write(tmp_path, 1)

    def write_with_a_limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        write(tmp_path, 2, size=200_000)

    assert exit_code(in_child(write_with_a_limit)) == 3
    assert newest_whole(tmp_path)[1] == []
    assert_whole(newest_whole(tmp_path)[0])
    assert [x.name for x in tmp_path.iterdir()] == ['iter_000001']


@pytest.mark.skipif(os.geteuid() != 0, reason='mounting needs root')
def test_a_really_full_disk_leaves_the_old_checkpoint(tmp_path):
    mount = ['mount', '-t', 'tmpfs', '-o', 'size=1m', 'none', str(tmp_path)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip('this machine mounts nothing')
    try:
        write(tmp_path, 1, size=100_000)
        with pytest.raises(CheckpointError, match='cannot be written'):
            write(tmp_path, 2, size=300_000)
        assert_whole(newest_whole(tmp_path)[0])
        assert [x.name for x in tmp_path.iterdir()] == ['iter_000001']
    finally:
        subprocess.run(['umount', str(tmp_path)], check=True)


def test_a_read_only_folder_leaves_the_old_checkpoint():
    root = Path(tempfile.mkdtemp())
    try:
        write(root, 1)
        root.chmod(0o555)

        def write_as_nobody():
            if os.geteuid() == 0:
                os.seteuid(65534)
            write(root, 2)

        assert exit_code(in_child(write_as_nobody)) == 3
        assert_whole(newest_whole(root)[0])
    finally:
        subprocess.run(['rm', '-rf', str(root)], check=True)
