# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The command line of ``tools/benchmark.py``."""

from __future__ import annotations

import argparse
import contextlib
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from mmpretrain_minigpt4.errors import (
    BenchmarkError,
    ConfigError,
    MiniGPT4Error,
)

SUITES = ('cpu', 'gpu', 'train', 'scaling', 'memory')
PAGE = Path('docs/benchmarks.md')
# What one call of the suite for GPUs may take, in minutes.
GPU_MINUTES = 9.0


def make_parser() -> argparse.ArgumentParser:
    """The options, with their help."""
    parser = argparse.ArgumentParser(
        prog='benchmark.py',
        description='Measure MiniGPT-4 beside the same graph of '
        'transformers, with the same random weights, by turns, in one '
        'process. First it is proved that both compute the same.',
        epilog='Peers: P1 transformers\' Blip2ForConditionalGeneration, its '
        'default cache; P2 the same with a static, compiled cache; P3 the '
        'toolbox\'s own MiniGPT4, in an environment of its own.')
    parser.add_argument(
        '--suite', action='append', choices=SUITES, default=[],
        help='may be given several times; default: cpu, or gpu where the '
        'device is one')
    parser.add_argument(
        '--only', action='append', default=[], metavar='TEXT',
        help='only the cases whose name holds this text')
    parser.add_argument(
        '--quick', action='store_true',
        help='few rounds, small batches, short answers: rough numbers')
    parser.add_argument(
        '--dims', help='tiny, bench, 7b or 13b; default: bench on a CPU, 7b '
        'on a GPU')
    parser.add_argument(
        '--device', help='default: cuda where there is one, else cpu')
    parser.add_argument(
        '--threads', type=int, default=1,
        help='on a CPU; with more than one the wall clock counts '
        '(default: 1)')
    parser.add_argument(
        '--static', action='store_true',
        help='also measure P2; on a CPU its compilation takes minutes')
    parser.add_argument(
        '--toolbox-python', metavar='PATH',
        help='a Python with mmpretrain and transformers 4, for P3')
    parser.add_argument(
        '--captions',
        type=int,
        default=1000,
        help='over how many captions scaling watches memory (default: 1000)')
    parser.add_argument(
        '--minutes', type=float,
        help='begin no row after so long (default: '
        f'{GPU_MINUTES:g} for the suite gpu, else no end)')
    parser.add_argument(
        '--out', type=Path, metavar='FILE',
        help='add a JSON line for each row to this file')
    parser.add_argument(
        '--write-docs', nargs='+', type=Path, metavar='FILE',
        help='measure nothing; write the results of these files, as --out '
        f'wrote them, into {PAGE}')
    parser.add_argument(
        '--page', type=Path, default=None,
        help=f'another page than {PAGE} for --write-docs')
    return parser


def main(argv: Sequence[str] | None = None, root: Path = Path('.')) -> int:
    """Measure or write the page.

    Args:
        argv: Arguments, without the program's name.
        root: Of the checkout whose page is written.

    Returns:
        0, or 1 after a known error, which is one line on stderr.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    args = make_parser().parse_args(argv)
    try:
        if args.write_docs:
            _write(args, root)
        else:
            _measure(args, argv)
        return 0
    except MiniGPT4Error as error:
        print(f'benchmark: error: {" ".join(str(error).split())}',
              file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('benchmark: interrupted; finished rows are in --out',
              file=sys.stderr)
        return 130


def _write(args: argparse.Namespace, root: Path) -> None:
    from .records import read_lines
    from .report import write_docs
    page = args.page or root / PAGE
    lines = read_lines(args.write_docs)
    write_docs(page, lines, page.parent / page.stem)
    print(f'wrote {len(lines)} rows into {page}')


def _measure(args: argparse.Namespace, argv: Sequence[str]) -> None:
    import json

    from .report import machine_line, table
    from .running import run_suites
    settings = _settings(args, argv)
    cuda = settings.device.type == 'cuda'
    suites = args.suite or (['gpu'] if cuda else ['cpu'])
    if args.toolbox_python:
        from .toolbox import check_python
        check_python(args.toolbox_python)

    def only(name: str) -> bool:
        return not args.only or any(text in name for text in args.only)

    with contextlib.ExitStack() as stack:
        out = None
        if args.out:
            try:
                args.out.parent.mkdir(parents=True, exist_ok=True)
                out = stack.enter_context(
                    args.out.open('a', encoding='utf-8'))
            except OSError as error:
                raise BenchmarkError(f'{args.out} cannot be written: '
                                     f'{error.strerror}.') from error
        found = run_suites(suites, settings, out, only, args.toolbox_python)
    if not found:
        raise ConfigError(f'No case holds {args.only}.')
    lines = [json.loads(record.to_json()) for record in found]
    print(machine_line(lines))
    print()
    print(table(lines))


def _settings(args: argparse.Namespace, argv: Sequence[str]):
    import torch

    from .bench import Settings
    from .dims import get_dims
    name = args.device or ('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f'There is no device {name!r}; give cpu or '
                          'cuda.') from error
    if device.type == 'cuda' and not torch.cuda.is_available():
        raise ConfigError('--device cuda: torch finds no GPU here. Measure '
                          'with --device cpu.')
    if args.threads < 1 or args.captions < 1:
        raise ConfigError('--threads and --captions are at least 1.')
    cuda = device.type == 'cuda'
    minutes = args.minutes
    if minutes is None and 'gpu' in args.suite:
        minutes = GPU_MINUTES
    return Settings(
        dims=get_dims(args.dims or ('7b' if cuda else 'bench')),
        device=device,
        threads=args.threads,
        quick=args.quick,
        static=args.static,
        captions=args.captions,
        seconds=None if minutes is None else 60 * minutes,
        command=_command(argv))


def _command(argv: Sequence[str]) -> str:
    """How the run was called, without what is only true of this machine."""
    kept, skip = ['tools/benchmark.py'], False
    for word in argv:
        if skip:
            skip = False
        elif word == '--out':
            skip = True
        elif word == '--toolbox-python':
            kept += [word, 'PATH']
            skip = True
        elif not word.startswith('--out='):
            kept.append(word)
    return shlex.join(kept)
