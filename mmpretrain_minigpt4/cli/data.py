# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""``minigpt4 data check``: read a data set through."""

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Iterator

from .exit_codes import OK, SOME_FAILED, UsageError, escape
from .log_filters import quiet_libraries

SHOWN = 10  # findings of each kind, in text
FILES = 3  # names of files that have the same fault


def add_parser(commands, epilog: str) -> None:
    """Add the command to the parser of all."""
    raw = argparse.RawDescriptionHelpFormatter
    data = commands.add_parser('data', help='look at training data')
    jobs = data.add_subparsers(dest='job', metavar='JOB', required=True)
    check = jobs.add_parser(
        'check',
        help='read a data set through',
        description='Read every sample of a config\'s training data, and '
        'report what is\nbroken, empty, too long or a duplicate. Exit code 1 '
        'if anything is\nbroken or empty.',
        epilog=epilog,
        formatter_class=raw)
    check.add_argument('config', metavar='CONFIG', help='config file')
    check.add_argument(
        '--loader',
        default='train_dataloader',
        metavar='KEY',
        help='the data loader in the config (default: %(default)s)')
    check.add_argument(
        '--cfg-options',
        nargs='+',
        default=[],
        metavar='KEY=VALUE',
        help='override values of the config, as for training')
    check.add_argument(
        '--workers',
        type=int,
        metavar='N',
        help='processes that read (default: one for each CPU)')
    check.add_argument(
        '--limit', type=int, metavar='N', help='read only N samples')
    check.add_argument(
        '--json',
        action='store_true',
        help='one JSON object a line: every finding, then the counts')
    check.add_argument(
        '-q', '--quiet', action='store_true', help='no progress bar')


def check(args: argparse.Namespace) -> int:
    """Read a data set through and print what was found."""
    if args.workers is not None and args.workers < 0:
        raise UsageError(f'--workers {args.workers}: give 0 or more.')
    if args.limit is not None and args.limit < 1:
        raise UsageError(f'--limit {args.limit}: give 1 or more.')
    options = dict(_split(text) for text in args.cfg_options)
    quiet_libraries()
    from ..apis.data_check import KINDS, check_data
    # The standard output is for the findings.
    with contextlib.redirect_stdout(sys.stderr), \
            _progress(args.quiet) as advance:
        report = check_data(args.config, args.loader, args.workers,
                            args.limit, advance, options)
    counts = {kind: report.count(kind) for kind in KINDS}
    if args.json:
        for finding in report.findings:
            print(json.dumps(finding.as_dict()))
        print(json.dumps(dict(samples=report.samples, **counts)))
    else:
        for kind in KINDS:
            lines = list(_lines(
                [x for x in report.findings if x.kind == kind]))
            for line in lines[:SHOWN]:
                print(line)
            if len(lines) > SHOWN:
                print(f'{kind}\t... {len(lines) - SHOWN:,} more; --json '
                      'lists all')
        print(report)
    return SOME_FAILED if counts['broken'] or counts['empty'] else OK


def _lines(findings: list) -> Iterator[str]:
    """A line for each sample, and one for all files of the same fault."""
    files: dict[str, list[str]] = {}
    for finding in findings:
        if not finding.key:
            files.setdefault(finding.reason, []).append(finding.where)
    for finding in findings:
        where = [finding.where]
        if not finding.key:
            where = files.pop(finding.reason, [])
            if not where:
                continue  # told with the first of them
        names = ', '.join(where[:FILES])
        if len(where) > FILES:
            names += f' and {len(where) - FILES:,} more'
        yield '\t'.join(
            escape(' '.join(text.split()) if text == finding.reason else text)
            for text in (finding.kind, names, finding.key, finding.reason))


def _split(text: str) -> tuple[str, str]:
    key, sign, value = text.partition('=')
    if not key or not sign:
        raise UsageError(f'--cfg-options {text}: give KEY=VALUE.')
    return key, value


@contextlib.contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[int, int | None], None]]:
    if quiet or not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress
    bar = Progress(
        *Progress.get_default_columns(),
        MofNCompleteColumn(),
        console=Console(stderr=True),
        transient=True)
    with bar:
        task = bar.add_task('Reading', total=None)

        def advance(done: int, total: int | None) -> None:
            bar.update(task, advance=done, total=total)

        yield advance
