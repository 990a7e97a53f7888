# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""``minigpt4 plan``: what a model needs, and what fits."""

import argparse
import json
import re

from .exit_codes import OK, SOME_FAILED
from .inputs import positive
from .log_filters import quiet_libraries

UNITS = {'': 1, 'K': 10**3, 'M': 10**6, 'G': 10**9, 'T': 10**12,
         'KI': 2**10, 'MI': 2**20, 'GI': 2**30, 'TI': 2**40}


def add_parser(commands, epilog: str) -> None:
    """Add the command; imports nothing heavy."""
    parser = commands.add_parser(
        'plan',
        help='tell how much memory a model needs',
        description='Print the memory for weights, keys and values, and '
        'activations in each\nprecision, and which of them fit. No weights '
        'are needed, and none are read.\n\nThe exit code is 1 if nothing '
        'fits into --memory.',
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        '--model', metavar='NAME', default='minigpt-4_vicuna-7b_caption',
        help='a name that `minigpt4 models` lists, or a config file '
        '(default: %(default)s)')
    parser.add_argument(
        '--llm', metavar='DIR',
        help='folder of the language model; only its config.json is read')
    parser.add_argument(
        '--batch', type=positive, default=1, metavar='N',
        help='images at a time (default: %(default)s)')
    parser.add_argument(
        '--tokens', type=positive, default=300, metavar='N',
        help='new tokens of an answer; with --train, tokens of text in a '
        'sample (default: %(default)s)')
    parser.add_argument(
        '--num-beams', type=positive, default=1, metavar='N')
    parser.add_argument(
        '--memory', type=_bytes, metavar='SIZE',
        help='what there is, for instance 24GB or 80GiB')
    parser.add_argument(
        '--cpu', action='store_true', help='on a CPU rather than on a GPU')
    parser.add_argument(
        '--train', action='store_true',
        help='a training step, with and without recomputed activations')
    parser.add_argument(
        '--json', action='store_true', help='one JSON object a line')


def run(args: argparse.Namespace) -> int:
    """Print a line for each precision."""
    quiet_libraries()
    from ..apis.memory_plan import PRECISIONS, build_empty, plan
    model = build_empty(args.model, args.llm)
    ways = (False, True) if args.train else (False, )
    some = args.memory is None
    if not args.json:
        head = f'{"GB":18}{"weights":>9}'
        head += '' if args.train else f'{"cache":>9}'
        print(f'{head}{"activations":>13}'
              f'{"optimizer":>11}{"total":>9}' if args.train else
              f'{head}{"activations":>13}{"total":>9}')
    for precision in PRECISIONS:
        for recompute in ways:
            found = plan(
                model, precision, batch=args.batch, tokens=args.tokens,
                beams=args.num_beams, cpu=args.cpu, train=args.train,
                checkpointing=recompute)
            fits = None
            if args.memory is not None:
                fits = found.total <= args.memory
                some = some or fits
            if args.json:
                row = found.as_dict()
                if args.train:
                    row['recompute'] = recompute
                print(json.dumps(dict(row, fits=fits)))
                continue
            name = precision + (', recompute' if recompute else '')
            cells = f'{name:18}{found.weights / 1e9:9.2f}'
            if not args.train:
                cells += f'{found.cache / 1e9:9.2f}'
            cells += f'{found.activations / 1e9:13.2f}'
            if args.train:
                cells += f'{found.training / 1e9:11.2f}'
            cells += f'{found.total / 1e9:9.2f}'
            print(cells + {None: '', True: '  fits', False: '  too much'}[
                fits])
    if not some and not args.json:
        print(f'Nothing fits into {args.memory / 1e9:.2f} GB: take a smaller '
              '--batch or fewer --tokens, or shard the language model '
              '(docs/distributed.md).')
    return OK if some else SOME_FAILED


def _bytes(text: str) -> int:
    found = re.fullmatch(r'([0-9.]+)\s*([KMGT]?I?)B?', text.strip().upper())
    try:
        value = float(found.group(1)) * UNITS[found.group(2)]
    except (AttributeError, ValueError, KeyError):
        value = 0
    if value <= 0:
        raise argparse.ArgumentTypeError(
            f'{text}: give a size such as 24GB or 80GiB')
    return int(value)
