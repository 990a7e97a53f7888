# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""``minigpt4 eval``: benchmarks by name, several at once."""

import argparse
import contextlib
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

from ..errors import MiniGPT4Error
from .exit_codes import OK, SOME_FAILED, UsageError, exit_code, one_line
from .log_filters import quiet_libraries
from .options import add_precision

SHOWN = 4  # scores of a benchmark in the table; the summary has all
WIDE = 160  # columns where there is no terminal


def add_parser(commands, epilog: str) -> None:
    """Add the command to the parser of all."""
    parser = commands.add_parser(
        'eval',
        help='run benchmarks',
        description='Run benchmarks by name and print a table of scores.\n\n'
        'Each leaves NAME.jsonl (answers), NAME.json (summary) and NAME.html\n'
        '(report) in a folder. One that was killed goes on where it stopped; '
        'one\nthat fails does not stop the others.',
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        'benchmarks', nargs='*', metavar='NAME',
        help='a name that --list shows, or a config file')
    parser.add_argument(
        '--list', action='store_true',
        help='show all benchmarks: what they ask, what to download')
    parser.add_argument(
        '--model', metavar='NAME',
        help='a model or its config file (default: the 7B model; for '
        'minigpt-4_tiny_shapes the tiny twin)')
    parser.add_argument(
        '--data-root', metavar='DIR',
        help='the folder that the benchmarks call "data" (default: ./data)')
    parser.add_argument(
        '--checkpoint', metavar='FILE',
        help='weights to load over those of the model')
    parser.add_argument(
        '--llm', metavar='DIR', help='folder of the language model')
    add_precision(parser)
    parser.add_argument(
        '--out', metavar='DIR',
        help='folder of results (default: work_dirs/eval/MODEL, with type '
        'and bits in its name if they are given)')
    parser.add_argument(
        '--limit', type=int, metavar='N',
        help='take only the first N samples of each')
    parser.add_argument('--batch-size', type=int, metavar='N')
    parser.add_argument(
        '--max-faults', type=int, metavar='N',
        help='score although N samples have no answer (default: 0)')
    parser.add_argument(
        '--fresh', action='store_true',
        help='start over, whatever answers there are')
    parser.add_argument(
        '--answers', metavar='FILE',
        help='score the answers of this file (JSON or JSON lines with '
        'question_id or image_id, and answer) to the one benchmark named; no '
        'model is run')
    parser.add_argument(
        '--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none', help='how several processes were started')
    parser.add_argument(
        '--json', action='store_true', help='one JSON object a line')


def run(args: argparse.Namespace) -> int:
    """List benchmarks, or run some."""
    if args.list:
        return _list(args)
    if not args.benchmarks:
        raise UsageError('Name benchmarks, or show them by --list.')
    for name in ('limit', 'batch_size'):
        value = getattr(args, name)
        if value is not None and value < 1:
            option = name.replace('_', '-')
            raise UsageError(f'--{option} {value}: give 1 or more.')
    quiet_libraries()
    from ..benchmarks import find_benchmark
    # All names are checked before hours of work.
    chosen = {x.name: x for x in map(find_benchmark, args.benchmarks)}
    if args.answers is not None and len(chosen) > 1:
        raise UsageError('--answers is of one benchmark; name just that.')
    names = [Path(args.model or 'default').stem, args.dtype,
             args.quantization]
    out = Path(args.out or Path('work_dirs', 'eval',
                                '_'.join(filter(None, names))))
    from ..utils.faults import check_writable
    check_writable(out / 'x.json', '--out')
    out.mkdir(parents=True, exist_ok=True)
    first = os.environ.get('RANK', '0') in ('', '0')
    rows, codes = [], []
    for number, benchmark in enumerate(chosen.values(), 1):
        if first:
            print(f'minigpt4: {benchmark.name} ({number} of {len(chosen)}): '
                  f'{benchmark.title}', file=sys.stderr)
        row, code = _one(benchmark, out, args)
        rows.append(row)
        codes.append(code)
        if first and args.json:
            print(json.dumps(row), flush=True)
    if first and not args.json:
        _table(rows)
        print(f'Answers, summaries and reports: {out}')
    bad = [code for code in codes if code != OK]
    return OK if not bad else bad[0] if len(bad) == len(codes) else SOME_FAILED


def _one(benchmark: Any, out: Path, args: argparse.Namespace
         ) -> tuple[dict[str, Any], int]:
    """Run one benchmark; a row for the table and an exit code."""
    row: dict[str, Any] = dict(benchmark=benchmark.name, error=None)
    try:
        # The standard output is for the table.
        with contextlib.redirect_stdout(sys.stderr):
            from ..apis import evaluate, score_answers
            if args.answers is not None:
                summary = score_answers(
                    benchmark, args.answers, out, args.data_root,
                    args.max_faults or 0)
            else:
                summary = evaluate(
                    benchmark, out, model=args.model,
                    data_root=args.data_root, checkpoint=args.checkpoint,
                    llm=args.llm, dtype=args.dtype,
                    quantization=args.quantization, limit=args.limit,
                    batch_size=args.batch_size, max_faults=args.max_faults,
                    fresh=args.fresh, launcher=args.launcher) or {}
    except MiniGPT4Error as error:
        code = exit_code(error)
        row['error'] = one_line(error)
    except Exception as error:  # the others shall run all the same
        code = SOME_FAILED
        path = out / f'{benchmark.name}.error.txt'
        path.write_text(traceback.format_exc(), encoding='utf-8')
        row['error'] = (f'{type(error).__name__}: {one_line(error)} (see '
                        f'{path})')
    else:
        for key in ('samples', 'metrics', 'images_per_second'):
            row[key] = summary.get(key)
        return row, OK
    print(f'minigpt4: {benchmark.name}: {row["error"]}', file=sys.stderr)
    return row, code


def _list(args: argparse.Namespace) -> int:
    from ..benchmarks import list_benchmarks
    found = list_benchmarks()
    if args.json:
        for x in found:
            print(json.dumps(dict(
                name=x.name, title=x.title, task=x.task, metrics=x.metrics,
                **{key.lower(): value for key, value in x.notes.items()})))
        return OK
    _print(('name', 'task', 'to download', 'samples', 'metric'), [
        (x.name, x.task, x.notes.get('Files', ''), x.notes.get('Samples', ''),
         ', '.join(x.metrics)) for x in found
    ])
    return OK


def _table(rows: list[dict]) -> None:
    cells = []
    for row in rows:
        if row['error'] is not None:
            cells.append((row['benchmark'], '', '', row['error']))
            continue
        samples = row['samples']
        answered = f'{samples["answered"]:,}'
        if samples['answered'] != samples['of']:
            answered += f' of {samples["of"]:,}'
        speed = row['images_per_second']
        cells.append((
            row['benchmark'], answered,
            '' if speed is None else f'{speed:.1f}',
            '  '.join(f'{key} {value:.2f}' for key, value in
                      list(row['metrics'].items())[:SHOWN])))
    _print(('benchmark', 'samples', 'images/s', 'scores'), cells)


def _print(head: tuple, rows: list[tuple]) -> None:
    """Print a table as wide as the terminal; text is no markup."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text
    table = Table(*head, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(Text(cell, overflow='fold') for cell in row))
    table.columns[0].no_wrap = True
    width = None if sys.stdout.isatty() else WIDE
    Console(width=width, highlight=False).print(table)
