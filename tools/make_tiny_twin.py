#!/usr/bin/env python3
# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Rebuild the tiny twin from seeds, score it, and print the results table.

    python tools/make_tiny_twin.py --work-dir work_dirs/tiny_twin

It goes on where an earlier call stopped. With ``--install`` the result
replaces the weights that ship in the package.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import mmpretrain_minigpt4  # noqa: E402, F401  (mends the toolbox first)


def main() -> None:
    """Parse the command line and build."""
    parser = argparse.ArgumentParser(
        description=__doc__.split('\n')[0])
    parser.add_argument(
        '--work-dir', type=Path, default=Path('work_dirs/tiny_twin'))
    parser.add_argument(
        '--quick', action='store_true',
        help='a few steps of everything: tries the way, learns nothing')
    parser.add_argument(
        '--install', action='store_true',
        help="replace the package's own tiny twin by the result")
    parser.add_argument(
        '--scenes', type=int, default=1000,
        help='test scenes to score on (default: 1000)')
    args = parser.parse_args()

    from tiny_twin.build import Builder
    from tiny_twin.results import results_table
    builder = Builder(args.work_dir.resolve(), ROOT, args.quick)
    builder.run()
    if args.install:
        builder.install()
    print(results_table(builder, min(args.scenes, 4) if args.quick else
                        args.scenes))


if __name__ == '__main__':
    main()
