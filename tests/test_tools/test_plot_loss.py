# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The tool that draws the loss of runs."""

import json
import subprocess
import sys
from pathlib import Path

from PIL import Image

TOOL = Path(__file__).resolve().parents[2] / 'tools' / 'plot_loss.py'


def plot(*words):
    return subprocess.run([sys.executable, str(TOOL), *map(str, words)],
                          text=True, capture_output=True)


def test_it_draws_the_newest_log_of_each_run(tmp_path):
    for name, losses in (('20260101_000000', []), ('20260102_000000',
                                                   [2., 1., .5])):
        log = tmp_path / name / 'vis_data' / 'scalars.json'
        log.parent.mkdir(parents=True)
        log.write_text('\n'.join(
            json.dumps(dict(loss=loss, lr=1e-3, step=i))
            for i, loss in enumerate(losses)) + '\n{"val_loss": 1.0}\n')
    out = tmp_path / 'loss.png'
    assert plot(tmp_path, tmp_path, '--out', out).stdout.strip() == str(out)
    with Image.open(out) as picture:
        colors = picture.convert('RGB').getcolors(2**20)
    # A curve of each colour, on white.
    assert {(31, 119, 180), (255, 127, 14), (255, 255, 255)} <= {
        color for _, color in colors}


def test_a_folder_without_a_log_is_named(tmp_path):
    found = plot(tmp_path)
    assert found.returncode == 1
    assert f'{tmp_path} holds no log of a run' in found.stderr
