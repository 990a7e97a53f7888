#!/usr/bin/env python3
# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Train the paper's ablations and its data curve in miniature; print a table.

    python tools/study_tiny_twin.py --work-dir work_dirs/study

It goes on where an earlier call stopped.
"""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tiny_twin.study import VARIANTS, Study  # noqa: E402


def main() -> None:
    """Parse the command line and run the study."""
    parser = argparse.ArgumentParser(
        description=__doc__.split('\n')[0])
    parser.add_argument(
        'variants', nargs='*', metavar='VARIANT', default=list(VARIANTS),
        help=f'some of {", ".join(VARIANTS)} (default: all)')
    parser.add_argument(
        '--work-dir', type=Path, default=Path('work_dirs/study'))
    parser.add_argument(
        '--twin', type=Path, metavar='DIR',
        help='a folder made by tools/make_tiny_twin.py, in place of the '
        "package's own weights")
    parser.add_argument(
        '--scenes', type=int, default=500,
        help='test scenes (default: %(default)s)')
    parser.add_argument(
        '--quick', action='store_true',
        help='a few steps of everything: tries the way, learns nothing')
    args = parser.parse_args()
    for name in args.variants:
        if name not in VARIANTS:
            parser.error(f'there is no variant {name!r}; known: '
                         f'{", ".join(VARIANTS)}')
    study = Study(args.work_dir.resolve(), ROOT,
                  args.twin and args.twin.resolve(), args.scenes, args.quick)
    print(study.run(args.variants))


if __name__ == '__main__':
    main()
