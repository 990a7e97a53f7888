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
    ('descriptions failed', 'failed'),
    ('objects, color and shape (F1)', 'objects_f1'),
    ('objects, all facts (F1)', 'full_f1'),
    ('background right', 'background'),
    ('objects named that are not there', 'hallucinated'),
    ('descriptions perfect', 'perfect'),
    ('questions right', 'accuracy'),
)


def score(builder: 'Builder', stage: int, scenes: int) -> dict[str, float]:
    """Metrics of the shapes benchmark on the tiny twin after a stage."""
    run = builder.work_dir / f'test_stage{stage}'
    files = [builder.vision, builder.projection(stage)]
    subprocess.run([
        sys.executable, 'tools/test.py',
        'configs/minigpt4/benchmarks/minigpt-4_tiny_shapes.py', '--work-dir',
        str(run), '--cfg-options', f'model.head.llm={builder.llm}',
        'model.checkpoints=[' + ','.join(f'"{f}"' for f in files) + ']',
        f'test_dataloader.dataset.num_scenes={scenes}'
    ], cwd=builder.root, check=True, stdout=subprocess.DEVNULL)
    return json.loads((run / 'answers.json').read_text())['metrics']


def results_table(builder: 'Builder', scenes: int) -> str:
    """Both stages side by side, in percent, as a Markdown table."""
    scores = {stage: score(builder, stage, scenes) for stage in (1, 2)}
    lines = [f'| {scenes:,} test scenes, greedy, percent | stage 1 only | '
             'stage 1 + 2 |', '|---|---|---|']
    lines += [
        f'| {name} | {scores[1]["shapes/" + key]:.1f} | '
        f'{scores[2]["shapes/" + key]:.1f} |' for name, key in ROWS
    ]
    return '\n'.join(lines)
