# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""``minigpt4 cache-features``: features of a data set's images, kept."""

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import ConfigError, FeatureCacheError
from .exit_codes import OK, SOME_FAILED, UsageError, escape
from .log_filters import quiet_libraries


def add_parser(commands, epilog: str) -> None:
    """Add the command to the parser of all."""
    cache = commands.add_parser(
        'cache-features',
        help='compute what the frozen vision part sees, once',
        description='Run the frozen vision part over every training image of '
        'a config, and write\nits features to a folder. Training takes them '
        'by\n\n  tools/train.py CONFIG --cfg-options model.features=DIR\n\n'
        'What is in the folder already stays, so the command goes on where '
        'it was ended.\nExit code 1 if some images cannot be read; they are '
        'listed in DIR/index.json.',
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    cache.add_argument('config', metavar='CONFIG', help='config file')
    cache.add_argument(
        '--out',
        metavar='DIR',
        help='where to write (default: data/features/<config>)')
    cache.add_argument(
        '--dtype',
        choices=['float16', 'bfloat16', 'float32'],
        default='float16',
        help='type to store in (default: %(default)s); float32 makes losses '
        'equal to the last bit, at twice the size')
    cache.add_argument(
        '--loader',
        default='train_dataloader',
        metavar='KEY',
        help='the data loader in the config (default: %(default)s)')
    cache.add_argument(
        '--cfg-options',
        nargs='+',
        metavar='KEY=VALUE',
        help='override values of the config, as for training')
    cache.add_argument(
        '--batch-size',
        type=int,
        metavar='N',
        help="images at once (default: the loader's)")
    cache.add_argument(
        '--shard-size',
        type=int,
        default=1024,
        metavar='N',
        help='images in a file (default: %(default)s)')
    cache.add_argument(
        '--workers',
        type=int,
        metavar='N',
        help="processes that read (default: the loader's)")
    cache.add_argument(
        '--device',
        metavar='NAME',
        help='cpu, cuda, cuda:1 ... (default: a GPU if there is one)')
    cache.add_argument(
        '-q', '--quiet', action='store_true', help='no progress bar')


def cache_features(args: argparse.Namespace) -> int:
    """Write the features, and say what was done."""
    for name in ('batch_size', 'shard_size'):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise UsageError(f'--{name.replace("_", "-")} {value}: give 1 or '
                             'more.')
    if args.workers is not None and args.workers < 0:
        raise UsageError(f'--workers {args.workers}: give 0 or more.')
    quiet_libraries()
    config = read_config(args.config, args.cfg_options)
    out = args.out or Path('data', 'features', Path(args.config).stem)
    from ..apis.cache_features import cache_features as run
    from ..apis.config_check import naming_config_errors
    with progress(args.quiet, 'Features') as advance, \
            naming_config_errors(args.config):
        try:
            report = run(
                config, out, args.loader, args.dtype, args.shard_size,
                args.batch_size, args.workers, args.device, advance)
        except OSError as error:
            if isinstance(error, ConfigError):
                raise
            raise FeatureCacheError(
                f'{out} cannot be written: {error}. Mend that, and give the '
                'command again; what is done stays.') from error
    for fault in report.broken:
        print(f'broken\t{escape(str(fault))}')
    print(report)
    print(f'Train with: --cfg-options model.features={out}')
    return SOME_FAILED if report.broken else OK


def read_config(path: str, options: list[str] | None):
    """A config with what was given by ``--cfg-options``.

    Raises:
        ConfigError: If it cannot be read.
        UsageError: If an option is no ``KEY=VALUE`` or does not fit.
    """
    from mmengine.config import DictAction

    from ..apis.config_check import read_config as read
    config = read(path)
    for text in options or ():
        if '=' not in text:
            raise UsageError(f'--cfg-options {text}: give KEY=VALUE.')
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    if options:
        parsed = parser.parse_args(['--cfg-options', *options])
        try:
            config.merge_from_dict(parsed.cfg_options)
        except (KeyError, TypeError, IndexError) as error:
            raise UsageError(f'--cfg-options: {error}') from error
    return config


@contextmanager
def progress(quiet: bool, what: str
             ) -> Iterator[Callable[[int, int | None], None]]:
    """A bar on a terminal's standard error, or nothing."""
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
        task = bar.add_task(what, total=None)

        def advance(done: int, total: int | None) -> None:
            bar.update(task, advance=done, total=total)

        yield advance
