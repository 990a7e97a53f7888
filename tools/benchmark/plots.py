# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Small pictures of what grows."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

SCALES = {'s': (1000, 'ms'), 'bytes': (1 / 2**20, 'MiB')}


def plot_all(lines: Iterable[dict], folder: Path) -> dict[str, Path]:
    """Draw each record that has a curve.

    Args:
        lines: Records as JSON gives them.
        folder: Gets one PNG each; made where it is missing.

    Returns:
        dict: The row's name to the file.
    """
    found = {}
    for line in lines:
        if line.get('curve'):
            folder.mkdir(parents=True, exist_ok=True)
            name = re.sub(r'\W+', '_', line['row']).strip('_')
            found[line['row']] = plot(line, folder / f'{name}.png')
    return found


def plot(line: dict, path: Path) -> Path:
    """Draw a record's curve into a PNG of some kilobytes."""
    # Without pyplot: no global state, and no display is asked for.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    curve = dict(line['curve'])
    x = curve.pop('x')
    factor, unit = SCALES[curve.pop('unit')]
    figure = Figure(figsize=(4.2, 2.8), dpi=80, layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for side, values in curve.items():
        axes.plot(x, [factor * v for v in values], 'o-', label=side, ms=3)
    if unit == 'ms' and line['unit'] == 'slope':
        axes.set_xscale('log', base=2)
        axes.set_yscale('log')
    else:
        axes.set_ylim(bottom=0)
    what, _, over = line['row'].partition(' over ')
    axes.set_xlabel('turn' if line['row'].startswith('turn') else over)
    axes.set_ylabel(unit)
    axes.set_title(f'{line["row"]}: {line["value"]:.2f} {line["unit"]}',
                   fontsize=9)
    axes.grid(alpha=0.3)
    if len(curve) > 1:
        axes.legend()
    draft = path.with_name(f'.{path.name}')
    figure.savefig(draft, format='png')
    os.replace(draft, path)
    return path
