# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""How a training process ends, seen from outside."""

import os
import resource
import signal
import time

from helpers.processes import Processes, needs_forks
from helpers.tiny_run import Numbers, train

from mmpretrain_minigpt4.engine.checkpointing.snapshot import (
    list_snapshots,
    newest_whole,
)

pytestmark = needs_forks


def test_sigterm_to_all_of_a_job_saves_and_exits_with_143(tmp_path):

    def run(rank):
        os.setsid()
        train(tmp_path / 'run', steps=1_000_000, hook=dict(interval=3),
              dataset=Numbers(noise=False), loader=dict(num_workers=2))

    process = Processes(run, tmp_path, size=1)
    while not list_snapshots(tmp_path / 'run'):
        time.sleep(0.02)
    # The data workers get it too.
    os.killpg(process.ids[0], signal.SIGTERM)
    ended, = process.wait()
    assert ended.code == 143
    assert 'SIGTERM: the run ends after this step' in ended.said
    assert 'Traceback' not in ended.said
    found, problems = newest_whole(tmp_path / 'run')
    assert found is not None and problems == []


def test_a_full_disk_ends_a_run_with_one_line(tmp_path):

    def run(rank):
        # More than a log takes, less than a checkpoint.
        resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, 12_000))
        train(tmp_path / 'run')

    train(tmp_path / 'run', steps=5)
    ended, = Processes(run, tmp_path, size=1).wait()
    assert ended.code == 3
    lines = [x for x in ended.said.splitlines() if 'error' in x]
    assert len(lines) == 1 and 'cannot be written' in lines[0]
    # The checkpoint of the earlier run is there and whole.
    kept = tmp_path / 'run' / 'superseded' / '1'
    assert newest_whole(kept)[0].iteration == 5
