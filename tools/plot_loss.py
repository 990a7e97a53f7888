#!/usr/bin/env python3
# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Draw the loss and the learning rate of runs, side by side.

    python tools/plot_loss.py work_dirs/minigpt-4_tiny_stage1 \
        work_dirs/minigpt-4_tiny_stage2 --out loss.png
"""

import argparse
import json
from pathlib import Path


def read_scalars(run: Path) -> list[dict]:
    """What the newest log of a work folder tells of each training step."""
    logs = sorted(run.glob('*/vis_data/scalars.json'))
    if not logs:
        raise SystemExit(f'{run} holds no log of a run: there is no '
                         '*/vis_data/scalars.json in it.')
    lines = map(json.loads, logs[-1].read_text().splitlines())
    found = [line for line in lines if 'loss' in line]
    if not found:
        raise SystemExit(f'{logs[-1]} holds no loss.')
    return found


def main() -> None:
    """Parse the command line and draw."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('runs', nargs='+', type=Path, metavar='WORK_DIR')
    parser.add_argument('--out', type=Path, default=Path('loss.png'))
    args = parser.parse_args()
    scalars = [read_scalars(run) for run in args.runs]

    import matplotlib
    matplotlib.use('Agg')
    from matplotlib import pyplot
    figure, axes = pyplot.subplots(
        1, len(args.runs), figsize=(4 * len(args.runs), 3), squeeze=False,
        layout='constrained')
    for axis, run, found in zip(axes[0], args.runs, scalars, strict=True):
        steps = [line['step'] for line in found]
        axis.plot(steps, [line['loss'] for line in found], color='tab:blue')
        axis.set(title=run.name, xlabel='step', yscale='log')
        axis.set_ylabel('loss', color='tab:blue')
        rates = axis.twinx()
        rates.plot(steps, [line['lr'] for line in found], color='tab:orange')
        rates.set_ylabel('learning rate', color='tab:orange')
        rates.ticklabel_format(axis='y', style='sci', scilimits=(0, 0))
    figure.savefig(args.out, dpi=80)
    print(args.out)


if __name__ == '__main__':
    main()
