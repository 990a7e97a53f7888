#!/usr/bin/env python3
# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Measure what a feature cache saves: time per step, with and without it.

Both runs go through the real Runner by turns, so that a machine that is
busy otherwise slows both alike; the median of all steps counts.

Example:
    python tools/measure_features.py configs/minigpt4/minigpt-4_tiny_stage2.py
"""

import argparse
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch

# In a checkout, its own package.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

# ruff: noqa: E402
from mmpretrain_minigpt4.cli.log_filters import quiet_imports

quiet_imports()

from mmengine.hooks import Hook
from mmengine.registry import RUNNERS

import mmpretrain_minigpt4
from mmpretrain_minigpt4.apis.cache_features import cache_features
from mmpretrain_minigpt4.cli.cache import read_config
from mmpretrain_minigpt4.cli.exit_codes import run_command

WARM_UP = 2  # steps that do not count


class Clock(Hook):
    """Takes the time of whole steps, data loading included."""

    priority = 'VERY_HIGH'

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.seconds: list[float] = []
        self._last: float | None = None

    def after_train_iter(self, runner, batch_idx, data_batch=None,
                         outputs=None) -> None:
        """Note the time since the last step."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now = self.now()
        if self._last is not None and batch_idx >= WARM_UP:
            self.seconds.append(now - self._last)
        self._last = now


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='a config of a training')
    parser.add_argument(
        '--steps', type=int, default=12, help='of a run (default: 12)')
    parser.add_argument(
        '--rounds', type=int, default=2, help='runs of each (default: 2)')
    parser.add_argument(
        '--cpu-time',
        action='store_true',
        help="count the process's CPU seconds, on a machine that is busy")
    parser.add_argument('--cfg-options', nargs='+', metavar='KEY=VALUE')
    return parser.parse_args(argv)


def measure(args: argparse.Namespace) -> None:
    """Run both, and print what was seen."""
    now = time.process_time if args.cpu_time else time.perf_counter
    cfg = read_config(args.config, args.cfg_options)
    cfg.log_level = 'ERROR'
    cfg.train_cfg.max_iters = args.steps
    seconds: dict[str, list[float]] = dict(images=[], features=[])
    with tempfile.TemporaryDirectory() as folder:
        began = now()
        report = cache_features(cfg, Path(folder, 'cache'))
        once = now() - began
        for number in range(args.rounds):
            for kind, found in seconds.items():
                run = cfg.copy()
                run.work_dir = str(Path(folder, f'{kind}{number}'))
                run.experiment_name = f'{kind}{number}'
                if kind == 'features':
                    run.model.features = str(report.folder)
                runner = RUNNERS.get(cfg.runner_type).from_cfg(run)
                clock = Clock(now)
                runner.register_hook(clock, 'VERY_HIGH')
                runner.train()
                found += clock.seconds
    what = 'CPU seconds' if args.cpu_time else 'seconds'
    print(f'{report.images} images, {report.image_bytes / 1024:.3g} KiB each;'
          f' computed once in {once:.2f} {what}, model building included')
    for kind, found in seconds.items():
        print(f'{kind:9}{median(found):.4f} {what} a step '
              f'({len(found)} steps, {min(found):.4f} to {max(found):.4f})')
    gain = median(seconds['images']) / median(seconds['features'])
    device = (torch.cuda.get_device_name() if torch.cuda.is_available()
              else platform.processor() or platform.machine())
    print(f'{gain:.2f}x; batch {cfg.train_dataloader.batch_size}, {device}, '
          f'{torch.get_num_threads()} threads, torch {torch.__version__}, '
          f'mmpretrain_minigpt4 {mmpretrain_minigpt4.__version__}, '
          f'{time.strftime("%Y-%m-%d")}')


if __name__ == '__main__':
    arguments = parse_args()
    sys.exit(run_command(lambda: measure(arguments), 'measure_features'))
