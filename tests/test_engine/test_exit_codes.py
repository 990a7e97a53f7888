# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""How a training process ends, seen from outside."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

from forking import fork
from tiny_run import train

from mmpretrain_minigpt4.cli.exits import guarded
from mmpretrain_minigpt4.engine.snapshot import list_snapshots, newest_whole

HERE = Path(__file__).parent


def test_sigterm_to_all_of_a_job_saves_and_exits_with_143(tmp_path):
    env = dict(os.environ, PYTHONPATH=str(HERE.parents[1]))
    process = subprocess.Popen(
        [sys.executable, str(HERE / 'tiny_run.py'), str(tmp_path), '1000000'],
        env=env, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        while not list_snapshots(tmp_path):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.05)
        # The data workers get it too.
        os.killpg(process.pid, signal.SIGTERM)
        _, errors = process.communicate(timeout=300)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 143
    assert 'SIGTERM: the run ends after this step' in errors
    assert 'Traceback' not in errors
    found, problems = newest_whole(tmp_path)
    assert found is not None and problems == []


def test_a_full_disk_ends_a_run_with_one_line(tmp_path):
    errors = tmp_path / 'errors'

    def run():
        os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT), 2)
        # More than a log takes, less than a checkpoint.
        resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, 12_000))
        sys.stderr = os.fdopen(2, 'w', buffering=1, closefd=False)
        os._exit(guarded(lambda: train(tmp_path / 'run'), 'train') or 0)

    train(tmp_path / 'run', steps=5)
    child = fork()
    if child == 0:
        try:
            run()
        finally:
            os._exit(99)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    lines = [x for x in errors.read_text().splitlines() if 'error' in x]
    assert len(lines) == 1 and 'cannot be written' in lines[0]
    # The checkpoint of the earlier run is there and whole.
    kept = tmp_path / 'run' / 'superseded' / '1'
    assert newest_whole(kept)[0].iteration == 5
