#!/usr/bin/env python3
# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Merge checkpoints of any known layout into one safetensors file.

Example:
    python tools/convert_checkpoint.py eva_vit_g.pth \
        blip2_pretrained_flant5xxl.pth pretrained_minigpt4_7b.pth \
        --out minigpt4_7b.safetensors --dtype bfloat16
"""

import argparse
import sys
from pathlib import Path

# In a checkout, its own package.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mmpretrain_minigpt4.checkpoints.saving import convert_files
from mmpretrain_minigpt4.errors import MiniGPT4Error


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        'checkpoints', nargs='+', help='files or folders; the later wins')
    parser.add_argument(
        '--out', required=True, help='the .safetensors file to write')
    parser.add_argument(
        '--dtype',
        choices=['float32', 'float16', 'bfloat16'],
        help='cast to this type; without it each tensor keeps its own')
    parser.add_argument(
        '--force', action='store_true', help='replace a file at --out')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Convert, and print what came from where."""
    args = parse_args(argv)
    try:
        report = convert_files(
            args.checkpoints, args.out, dtype=args.dtype, force=args.force)
    except (MiniGPT4Error, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    print(report)
    print(f'wrote {args.out}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
