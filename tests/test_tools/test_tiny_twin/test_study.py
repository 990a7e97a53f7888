# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The study of variants: what it asks for, and that it runs."""

import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config, DictAction
from tiny_twin.study import VARIANTS

ROOT = Path(__file__).resolve().parents[3]


def options(texts):
    return {key: DictAction._parse_iterable(value)
            for key, _, value in (text.partition('=') for text in texts)}


@pytest.mark.parametrize('name, steps', [
    ('one-layer', 800), ('data-50', 400), ('data-30', 240), ('data-10', 80)])
def test_less_data_is_fewer_steps_of_the_same_curve(name, steps):
    config = Config.fromfile(
        ROOT / 'configs' / 'minigpt4' / 'minigpt-4_tiny_stage1.py')
    config.merge_from_dict(options(VARIANTS[name].first))
    warmup, cosine = config.param_scheduler
    assert config.train_cfg.max_iters == cosine.end == steps
    assert warmup.end == cosine.begin == steps // 8
    assert cosine.T_max == steps - warmup.end
    loader = config.train_dataloader
    assert loader.dataset.num_scenes == loader.batch_size * steps


@pytest.mark.slow
def test_it_runs_and_does_nothing_twice(tmp_path):
    command = [
        sys.executable, 'tools/study_tiny_twin.py', '--work-dir',
        str(tmp_path), '--quick', '--scenes', '2', 'lora', 'no-qformer']
    first = subprocess.run(command, cwd=ROOT, check=True, text=True,
                           capture_output=True).stdout
    assert '| LoRA in stage 2 |' in first and 'trains stage 2' in first
    again = subprocess.run(command, cwd=ROOT, check=True, text=True,
                           capture_output=True).stdout
    assert 'trains' not in again
    assert again.splitlines()[-4:] == first.splitlines()[-4:]
