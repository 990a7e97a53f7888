# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""``tools/train.py`` and ``tools/test.py``: the toolbox's own options.

What differs from the toolbox's scripts is what the toolbox cannot know: the
package is imported before mmengine's runner, a checkpoint is loaded strictly
(and may hold only what was trained), options that need a GPU say so, and a
known error ends in one line and an exit code.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import CheckpointError, ConfigError
from .exit_codes import EXIT_CODES, UsageError, run_command
from .log_filters import quiet_imports
from .options import add_precision, apply_precision

if TYPE_CHECKING:
    from mmengine.config import Config
    from mmengine.runner import Runner

VISUALIZATION = 'mmpretrain_minigpt4.TextVisualizationHook'
TEST_LOOP = 'mmpretrain_minigpt4.EvalLoop'


def train(argv: Sequence[str] | None = None) -> int:
    """Train a model from a config; the body of ``tools/train.py``."""
    return run_command(lambda: _train(argv), 'train')


def test(argv: Sequence[str] | None = None) -> int:
    """Test a model from a config; the body of ``tools/test.py``."""
    return run_command(lambda: _test(argv), 'test')


def _train(argv: Sequence[str] | None) -> None:
    args = _train_parser().parse_args(argv)
    cfg = _load_config(args)
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if args.amp:
        _check_amp(cfg)
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    if args.resume is not None:
        cfg.resume = True
        cfg.load_from = None
        if args.resume.endswith('.safetensors'):
            raise UsageError(
                f'--resume {args.resume}: this file holds weights, not the '
                'state of a run. To start from them, add it to '
                'model.checkpoints by --cfg-options.')
        if args.resume != 'auto':
            cfg.load_from = _existing_checkpoint(args.resume)
    if args.auto_scale_lr:
        if cfg.get('auto_scale_lr') is None:
            raise ConfigError(
                f'--auto-scale-lr: {args.config} has no auto_scale_lr, so '
                'the batch size its rate was made for is unknown. Add '
                'auto_scale_lr=dict(base_batch_size=...).')
        cfg.auto_scale_lr.enable = True
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        _complete_dataloader(cfg, name, args)
    _merge_options(cfg, args)
    from ..apis.config_check import check_config, naming_config_errors
    check_config(cfg, args.config, 'train_dataloader', 'train_cfg',
                 'optim_wrapper')
    with naming_config_errors(args.config):
        _build_runner(cfg).train()


def _test(argv: Sequence[str] | None) -> None:
    args = _test_parser().parse_args(argv)
    answers, predictions = _check_out(args)
    if args.interval < 1:
        raise UsageError(f'--interval {args.interval}: give 1 or more.')
    cfg = _load_config(args)
    if cfg.get('test_dataloader') is None:
        raise ConfigError(
            f'{args.config} has no test_dataloader: nothing to test on.')
    if args.amp:
        _check_amp(cfg)
        cfg.test_cfg.fp16 = True
    if args.show_dir is not None:
        from ..utils.faults import check_writable
        check_writable(Path(args.show_dir, 'x.png'), '--show-dir')
    if args.show or args.show_dir is not None:
        cfg.setdefault('default_hooks', {})
        cfg.default_hooks.visualization = dict(
            type=VISUALIZATION,
            enable=True,
            show=args.show,
            wait_time=args.wait_time,
            out_dir=args.show_dir,
            interval=args.interval)
    _complete_dataloader(cfg, 'test_dataloader', args)
    _merge_options(cfg, args)
    from ..apis.config_check import check_config, naming_config_errors
    from ..apis.evaluation import check_files
    check_config(cfg, args.config, 'test_dataloader')
    _set_loop(cfg, args, answers)
    if args.checkpoint is not None:
        # The model loads it: strictly, and over what the config names. The
        # runner's own loading passes over wrong shapes with a log line.
        cfg.load_from = None
        earlier = cfg.model.get('checkpoints') or []
        path = _existing_checkpoint(args.checkpoint)
        cfg.model.checkpoints = [*earlier, path]
    with naming_config_errors(args.config):
        check_files(cfg)
        runner = _build_runner(cfg)
        if predictions:
            from mmengine.evaluator import DumpResults
            runner.test_evaluator.metrics.append(DumpResults(args.out))
        metrics = runner.test()
    if args.out and not predictions and not answers:
        import mmengine
        mmengine.dump(metrics, args.out)


def _common_parser(program: str, description: str) -> argparse.ArgumentParser:
    from mmengine.config import DictAction

    class Options(DictAction):

        def __call__(self, parser, namespace, values, option_string=None):
            for text in values:
                if '=' not in text:
                    parser.error(f'--cfg-options {text}: give KEY=VALUE.')
            super().__call__(parser, namespace, values, option_string)

    parser = argparse.ArgumentParser(
        prog=program,
        description=description,
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--work-dir',
        metavar='DIR',
        help='folder for logs and results (default: work_dirs/<config>)')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=Options,
        metavar='KEY=VALUE',
        help='override values of the config, for instance '
        'train_cfg.max_iters=100; lists as key=a,b or key="[a,b]"')
    add_precision(parser)
    parser.add_argument(
        '--amp', action='store_true', help='mixed precision (needs a GPU)')
    parser.add_argument(
        '--no-pin-memory',
        action='store_true',
        help='do not pin the memory of the data loaders')
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='how the processes were started (see dist_%(prog)s.sh)')
    # Passed by torch.distributed.launch; torchrun sets LOCAL_RANK itself.
    parser.add_argument(
        '--local_rank',
        '--local-rank',
        type=int,
        default=0,
        help=argparse.SUPPRESS)
    return parser


def _train_parser() -> argparse.ArgumentParser:
    parser = _common_parser('train', 'Train a model from a config.')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from a checkpoint; without a name, from the latest of '
        'the work dir')
    parser.add_argument(
        '--no-validate',
        action='store_true',
        help='do not evaluate during the training')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help="scale the learning rate by the config's auto_scale_lr")
    parser.add_argument(
        '--no-persistent-workers',
        action='store_true',
        help='start the workers of the data loaders anew each epoch')
    return parser


def _test_parser() -> argparse.ArgumentParser:
    parser = _common_parser('test', 'Test a model from a config.')
    parser.add_argument(
        'checkpoint',
        nargs='?',
        help='weights to load over those that the config names; may hold '
        'only what was trained (default: those of the config)')
    parser.add_argument(
        '--out',
        metavar='FILE',
        help='.jsonl: keep the answers in this file as they come, and put a '
        'summary (.json) and a report (.html) beside it; a killed run goes '
        'on with it (default: answers.jsonl in the work dir). Other endings: '
        'write the results there at the end')
    parser.add_argument(
        '--out-item',
        choices=['metrics', 'pred'],
        help='what another --out holds: the metrics (.json, .yml, .pkl) or '
        'every prediction (.pkl; the default)')
    parser.add_argument(
        '--fresh',
        action='store_true',
        help='start over, whatever answers there are')
    parser.add_argument(
        '--show-dir',
        metavar='DIR',
        help='draw the answers into copies of the images in this folder')
    parser.add_argument(
        '--show',
        action='store_true',
        help='show the images with the answers in a window')
    parser.add_argument(
        '--interval',
        type=int,
        default=1,
        metavar='N',
        help='draw each N-th image (default: every one)')
    parser.add_argument(
        '--wait-time',
        type=float,
        default=2,
        metavar='SECONDS',
        help='how long a window stays (default: %(default)s)')
    return parser


def _load_config(args: argparse.Namespace) -> 'Config':
    quiet_imports()
    from ..apis.config_check import read_config
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = read_config(args.config)
    cfg.launcher = args.launcher
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = os.path.join('work_dirs', Path(args.config).stem)
    return cfg


def _complete_dataloader(cfg: 'Config', name: str,
                         args: argparse.Namespace) -> None:
    """Fill in what the toolbox's configs leave to its scripts."""
    loader = cfg.get(name)
    if loader is None:
        return
    loader.setdefault('collate_fn', dict(type='default_collate'))
    loader.setdefault('pin_memory', _has_gpu())
    loader.setdefault('persistent_workers', loader.get('num_workers', 0) > 0)
    if args.no_pin_memory:
        loader.pin_memory = False
    if getattr(args, 'no_persistent_workers', False):
        loader.persistent_workers = False


def _merge_options(cfg: 'Config', args: argparse.Namespace) -> None:
    apply_precision(cfg, args)
    if args.cfg_options is None:
        return
    try:
        cfg.merge_from_dict(args.cfg_options)
    except (KeyError, TypeError, IndexError) as error:
        raise UsageError(f'--cfg-options: {error}') from error


def _check_out(args: argparse.Namespace) -> tuple[bool, bool]:
    """Check ``--out`` before hours of work.

    Returns:
        Whether it keeps answers, and whether it takes predictions.
    """
    if args.out is None:
        if args.out_item is not None:
            raise UsageError('--out-item says what --out holds: give --out.')
        return False, False
    answers = args.out.endswith('.jsonl') and args.out_item is None
    predictions = args.out_item != 'metrics'
    kinds = {'.pkl', '.pickle'}
    if not predictions:
        kinds |= {'.json', '.yml', '.yaml'}
    if not answers and Path(args.out).suffix not in kinds:
        first = '' if args.out_item else '.jsonl (answers), '
        raise UsageError(
            f'--out {args.out}: the name must end in one of '
            f'{first}{", ".join(sorted(kinds))}.')
    from ..utils.faults import check_writable
    check_writable(args.out, '--out')
    return answers, predictions and not answers


def _set_loop(cfg: 'Config', args: argparse.Namespace, answers: bool) -> None:
    """Let the package's own models be tested by its own loop."""
    own = str(cfg.model.get('type')).startswith('mmpretrain_minigpt4.')
    if own or answers or args.fresh:
        cfg.test_cfg = cfg.get('test_cfg') or {}
        cfg.test_cfg.setdefault('type', TEST_LOOP)
    if answers:
        cfg.test_cfg.out = args.out
    if args.fresh:
        cfg.test_cfg.fresh = True


def _existing_checkpoint(path: str) -> str:
    if '://' not in path and not Path(path).exists():
        raise CheckpointError(f'{path}: there is no such checkpoint.')
    return path


def _has_gpu() -> bool:
    import torch
    return torch.cuda.is_available()


def _check_amp(cfg: 'Config') -> None:
    if 'runner_type' not in cfg and not _has_gpu():
        raise UsageError(
            "--amp needs a GPU with mmengine's runner, and this machine "
            'offers none; without it the same runs in float32.')


def _build_runner(cfg: 'Config') -> 'Runner':
    from mmengine.registry import RUNNERS
    from mmengine.runner import Runner
    if cfg.launcher != 'none' and not _has_gpu():
        # mmengine's own would select a GPU for each process.
        cfg.setdefault('runner_type', 'mmpretrain_minigpt4.Runner')
    if 'runner_type' in cfg:
        return RUNNERS.build(cfg)
    return Runner.from_cfg(cfg)
