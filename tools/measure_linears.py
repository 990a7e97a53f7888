#!/usr/bin/env python3
# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""How fast a quantised linear layer is, beside plain ones.

    python tools/measure_linears.py --shape 4096 2048

Prints the second table of docs/precision.md: milliseconds of CPU time.
"""

import argparse
import platform
import sys
import time
from datetime import date
from pathlib import Path
from statistics import median

import torch
from torch import nn

# In a checkout, its own package.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

# ruff: noqa: E402
from mmpretrain_minigpt4.cli.log_filters import quiet_imports

quiet_imports()

from mmpretrain_minigpt4.llm.quantization.methods import (
    QUANTIZATIONS,
    quantize,
)
from mmpretrain_minigpt4.ops import prepack

ROWS = (1, 8, 128)


def main() -> None:
    """Time each kind, by turns."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--shape', type=int, nargs=2, default=(4096, 2048),
                        metavar=('O', 'I'), help='outputs and inputs')
    parser.add_argument('--repeats', type=int, default=7)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    outputs, inputs = args.shape
    print(f'{outputs} x {inputs}, 1 thread, {platform.machine()}, torch '
          f'{torch.__version__}, {date.today()}\n')
    print('| type | quantization | ' + ' | '.join(
        f'rows: {rows}' for rows in ROWS) + ' |\n|---|---|---|---|---|')
    layers = {}
    for dtype in (torch.float32, torch.bfloat16):
        for name in QUANTIZATIONS:
            if name == 'fp8':  # for GPUs only
                continue
            model = nn.Sequential(nn.Linear(inputs, outputs, bias=False))
            layers[dtype, name] = quantize(
                model.requires_grad_(False), name).to(dtype)
            prepack(layers[dtype, name])  # as models do it
    times: dict = {}
    with torch.no_grad():
        for _ in range(args.repeats):
            for (dtype, name), layer in layers.items():
                for rows in ROWS:
                    x = torch.randn(rows, inputs, dtype=dtype)
                    layer(x)
                    started = time.process_time()
                    layer(x)
                    times.setdefault((dtype, name, rows), []).append(
                        1e3 * (time.process_time() - started))
    for dtype, name in layers:
        print(f'| {str(dtype).removeprefix("torch.")} | {name} | ' +
              ' | '.join(f'{median(times[dtype, name, rows]):.2f}'
                         for rows in ROWS) + ' |')


if __name__ == '__main__':
    main()
