# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""``minigpt4 merge-lora``: a trained language model as a folder of its own."""

import argparse

from .cache import read_config
from .exit_codes import OK
from .log_filters import quiet_libraries


def add_parser(commands, epilog: str) -> None:
    """Add the command to the parser of all."""
    merge = commands.add_parser(
        'merge-lora',
        help='add a trained LoRA to its language model',
        description='Add the LoRA of a checkpoint to the language model of '
        'a config, and write the\nmerged model as a folder in Hugging Face '
        'format, which every config reads by\nmodel.head.llm=DIR. What else '
        'was trained goes to DIR/minigpt4.safetensors,\nfor '
        'model.checkpoints.',
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    merge.add_argument(
        'config', metavar='CONFIG', help='config with model.lora')
    merge.add_argument(
        'checkpoint',
        metavar='CHECKPOINT',
        help='trained.safetensors of a run')
    merge.add_argument(
        '--out', metavar='DIR', required=True, help='the folder to write')
    merge.add_argument(
        '--dtype',
        choices=['auto', 'float32', 'float16', 'bfloat16'],
        default='auto',
        help="type to write (default: auto, the language model's own)")
    merge.add_argument(
        '--cfg-options',
        nargs='+',
        metavar='KEY=VALUE',
        help='override values of the config, as for training')


def merge_lora(args: argparse.Namespace) -> int:
    """Merge, and say how to use it."""
    quiet_libraries()
    config = read_config(args.config, args.cfg_options)
    from ..apis.merge_lora import REST
    from ..apis.merge_lora import merge_lora as run
    rest = run(config, args.checkpoint, args.out, args.dtype)
    print(f'{args.out}: the merged language model.')
    print(f'Use it with: --cfg-options model.head.llm={args.out}')
    if rest:
        print(f'{args.out}/{REST}: what else was trained ({rest} tensors), '
              'for model.checkpoints.')
    return OK
