# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Run a benchmark on a model, with files where the user has them."""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from ..benchmarks import Benchmark, find_benchmark
from ..errors import CheckpointError, ConfigError
from ..zoo import config_path, read_config
from .config_check import set_precision

if TYPE_CHECKING:
    from mmengine.config import Config

MODEL = 'MINIGPT4_CONFIG'  # what the benchmarks' configs read
DATA, RESULTS = 'data', 'work_dirs'  # where they look, and write


def evaluate(benchmark: str | Benchmark, out: str | Path, **kwargs: Any
             ) -> dict[str, Any] | None:
    """Run a benchmark, or go on with it, and give its summary.

    In ``out`` lie afterwards the answers (``NAME.jsonl``), the summary
    (``NAME.json``) and a report (``NAME.html``). A benchmark that has all of
    its answers there is scored once more.

    Args:
        benchmark: Its name, the path of its config, or what was read of it.
        out: A folder, made if it is not there.
        kwargs: As of :func:`benchmark_config`.

    Returns:
        The summary; None in all processes but the first.

    Raises:
        ConfigError: If benchmark or model are unknown.
        DatasetError: If a file is missing, telling what to download, or the
            answers that are there are of other settings.
    """
    import torch
    from mmengine.registry import RUNNERS
    cfg = benchmark_config(benchmark, out=out, **kwargs)
    check_files(cfg)
    runner = RUNNERS.build(cfg)
    try:
        runner.test()
        return runner.test_loop.summary
    finally:
        # The next benchmark needs the room.
        del runner
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def benchmark_config(benchmark: str | Benchmark,
                     out: str | Path,
                     model: str | None = None,
                     data_root: str | None = None,
                     checkpoint: str | None = None,
                     llm: str | None = None,
                     dtype: str | None = None,
                     quantization: str | None = None,
                     limit: int | None = None,
                     batch_size: int | None = None,
                     max_faults: int | None = None,
                     fresh: bool = False,
                     launcher: str = 'none') -> Config:
    """A benchmark's config, for a model and for a place of files.

    Args:
        benchmark: Its name, the path of its config, or what was read of it.
        out: The folder of results.
        model: A model's name or config file; by default the config's own.
        data_root: The folder that the configs call ``data``.
        checkpoint: Weights to load over those of the model.
        llm: Folder of the language model.
        dtype: Of all parts; by default the config's own.
        quantization: Of the language model; by default the config's own.
        limit: Take only the first so many samples.
        batch_size: Samples at once.
        max_faults: Score although so many samples have no answer.
        fresh: Start over, whatever answers there are.
        launcher: How the processes were started.

    Raises:
        ConfigError: If benchmark or model are unknown.
        CheckpointError: If there is no such checkpoint.
    """
    # Before anything of the toolbox is built.
    import mmpretrain_minigpt4  # noqa: F401
    if not isinstance(benchmark, Benchmark):
        benchmark = find_benchmark(benchmark)
    out = Path(out)
    with _model_variable(model):
        # The toolbox tells of the variable, which the user has not set.
        logging.disable(logging.INFO)
        try:
            cfg = read_config(benchmark.config)
        except ConfigError:
            if model is not None:  # the broken one shall be named
                read_config(os.environ[MODEL])
            raise
        finally:
            logging.disable(logging.NOTSET)
    if cfg.get('test_dataloader') is None or cfg.get('model') is None:
        raise ConfigError(f'{benchmark.config} is no benchmark: it needs '
                          'model, test_dataloader and test_evaluator.')
    if data_root is not None:
        for key in ('test_dataloader', 'test_evaluator'):
            cfg[key] = replace_prefix(cfg[key], DATA, data_root)
    cfg.test_evaluator = replace_prefix(cfg.test_evaluator, RESULTS, str(out))
    if checkpoint is not None:
        if '://' not in checkpoint and not Path(checkpoint).exists():
            raise CheckpointError(f'{checkpoint}: there is no such '
                                  'checkpoint.')
        cfg.model.checkpoints = [*(cfg.model.get('checkpoints') or []),
                                 checkpoint]
    if llm is not None:
        cfg.model.head.llm = llm
    set_precision(cfg, dtype, quantization)
    cfg.test_dataloader.setdefault('collate_fn', dict(type='default_collate'))
    if batch_size is not None:
        cfg.test_dataloader.batch_size = batch_size
    cfg.test_cfg = dict(
        cfg.get('test_cfg') or {},
        type='mmpretrain_minigpt4.EvalLoop',
        out=str(out / f'{benchmark.name}.jsonl'),
        fresh=fresh,
        limit=limit)
    if max_faults is not None:
        cfg.test_cfg['max_faults'] = max_faults
    cfg.runner_type = 'mmpretrain_minigpt4.Runner'
    cfg.launcher = launcher
    cfg.load_from = None
    cfg.log_level = 'WARNING'
    cfg.work_dir = str(out / 'logs' / benchmark.name)
    cfg.experiment_name = f'{benchmark.name}_{uuid4().hex[:8]}'
    return cfg


def check_files(cfg: Config) -> None:
    """Look for the files of a benchmark, before minutes of loading a model.

    Args:
        cfg: The config; only data sets and metrics of this package are
            looked at.

    Raises:
        DatasetError: If a file is missing, telling what to download.
    """
    from mmengine.registry import DATASETS, METRICS
    dataset = (cfg.get('test_dataloader') or {}).get('dataset')
    if isinstance(dataset, Mapping) and _is_own(dataset):
        DATASETS.build(dataset)
    metrics = cfg.get('test_evaluator') or []
    for metric in [metrics] if isinstance(metrics, Mapping) else metrics:
        if isinstance(metric, Mapping) and _is_own(metric):
            METRICS.build(metric)


def _is_own(part: Mapping) -> bool:
    return str(part.get('type')).startswith(f'{__package__.split(".")[0]}.')


def replace_prefix(value: Any, start: str, place: str) -> Any:
    """Put another folder in place of the first one of each path."""
    if isinstance(value, Mapping):
        return {k: replace_prefix(v, start, place) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(replace_prefix(v, start, place) for v in value)
    if isinstance(value, str) and (value == start
                                   or value.startswith(f'{start}/')):
        return os.path.normpath(place + value[len(start):])
    return value


@contextmanager
def _model_variable(model: str | None) -> Iterator[None]:
    """Tell the benchmarks' configs which model they are for."""
    if model is None:
        yield
        return
    path = Path(model)
    if not (model.endswith('.py') and path.is_file()):
        try:
            path = config_path(model)
        except FileNotFoundError as error:
            raise ConfigError(f'--model {model}: {error}') from error
    before = os.environ.get(MODEL)
    os.environ[MODEL] = str(path.resolve())
    try:
        yield
    finally:
        if before is None:
            del os.environ[MODEL]
        else:
            os.environ[MODEL] = before
