# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""What the commands that open a model share: its name and its precision."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmengine.config import Config

PROGRAM = 'minigpt4'
CAPTION_MODEL = 'minigpt-4_tiny_caption'
VQA_MODEL = 'minigpt-4_tiny_vqa'
DTYPES = ('auto', 'float32', 'bfloat16', 'float16')
# Those of llm/quantization/methods.py, without importing torch for --help.
QUANTIZATIONS = ('none', 'int8', 'int8-dynamic', 'fp8', 'int4')


def add_precision(parser: argparse._ActionsContainer) -> None:
    """Add ``--dtype`` and ``--quantization`` to a parser or a group of one."""
    parser.add_argument(
        '--dtype',
        choices=DTYPES,
        help='numbers to compute in (default: the config\'s; auto is '
        'bfloat16 on a GPU, float32 on a CPU)')
    parser.add_argument(
        '--quantization',
        choices=QUANTIZATIONS,
        help="bits of the frozen language model's weights (default: the "
        "config's, which is none; needs the extra `quantize`)")


def apply_precision(cfg: 'Config', args: argparse.Namespace) -> None:
    """Put both options into a config, where they were given.

    Raises:
        ConfigError: If the config has no model of this package.
    """
    from ..apis.config_check import set_precision
    set_precision(cfg, args.dtype, args.quantization)
