# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Score the tiny twin through ``tools/test.py`` and print a table."""

import json
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .build import Builder

ROWS = (
    ('descriptions failed', 'caption', 'shapes/failed'),
    ('objects, color and shape (F1)', 'caption', 'shapes/objects_f1'),
    ('objects, all facts (F1)', 'caption', 'shapes/full_f1'),
    ('background right', 'caption', 'shapes/background'),
    ('objects named that are not there', 'caption', 'shapes/hallucinated'),
    ('descriptions perfect', 'caption', 'shapes/perfect'),
    ('questions right', 'vqa', 'shapes/accuracy'),
)


def score(builder: 'Builder', stage: int, task: str,
          scenes: int) -> dict[str, float]:
    """Metrics of ``tools/test.py`` on the tiny twin after a stage."""
    run = builder.work_dir / f'test_{task}_stage{stage}'
    files = [builder.vision, builder.projection(stage)]
    subprocess.run([
        sys.executable, 'tools/test.py',
        f'configs/minigpt4/minigpt-4_tiny_{task}.py', '--work-dir',
        str(run), '--cfg-options', f'model.head.llm={builder.llm}',
        'model.checkpoints=[' + ','.join(f'"{f}"' for f in files) + ']',
        f'test_dataloader.dataset.num_scenes={scenes}'
    ], cwd=builder.root, check=True, stdout=subprocess.DEVNULL)
    # The Runner leaves a file of its metrics in a folder named by the time.
    newest = max(run.glob('*/*.json'), key=lambda path: path.stat().st_mtime)
    return json.loads(newest.read_text())


def results_table(builder: 'Builder', scenes: int) -> str:
    """Both stages side by side, in percent, as a Markdown table."""
    scores = {(task, stage): score(builder, stage, task, scenes)
              for task in ('caption', 'vqa') for stage in (1, 2)}
    lines = [f'| {scenes} test scenes, greedy, percent | stage 1 only | '
             'stage 1 + 2 |', '|---|---|---|']
    lines += [
        f'| {name} | {scores[task, 1][key]:.1f} | {scores[task, 2][key]:.1f} |'
        for name, task, key in ROWS
    ]
    return '\n'.join(lines)
