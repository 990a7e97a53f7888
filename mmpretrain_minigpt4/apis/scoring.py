# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Score answers that were given elsewhere, without a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..benchmarks import Benchmark, find_benchmark
from ..errors import ConfigError, DatasetError

FIELDS = dict(caption='pred_caption', vqa='pred_answer', text='pred_text')
IMAGE = ('img', 'img_path', 'sample_idx')


def score_answers(benchmark: str | Benchmark,
                  path: str | Path,
                  out: str | Path,
                  data_root: str | None = None,
                  max_faults: int = 0) -> dict[str, Any]:
    """Score a file of answers to a benchmark's questions.

    Args:
        benchmark: Its name, the path of its config, or what was read of it.
        path: JSON lines, a JSON list of dicts, or a JSON dict of id and
            answer. Dicts have the benchmark's ``question_id`` (``image_id``
            for descriptions) and ``answer``, or what a run of this package
            writes.
        out: The folder that gets ``NAME.json`` and ``NAME.html``.
        data_root: The folder that the configs call ``data``; images are
            shown in the report where they are there.
        max_faults: Refuse the file with more faults than that: questions
            without an answer, answers without a question, repeats.

    Raises:
        ConfigError: If the benchmark asks each question several times.
        DatasetError: If a file is missing, or answers and questions do not
            match.
    """
    from mmengine.evaluator import Evaluator
    from mmengine.registry import DATASETS

    from ..evaluation import read_answers
    from ..evaluation.runs import (
        make_summary,
        plain,
        score,
        write_json,
        write_report,
    )
    from ..evaluation.runs.scoring import per_sample_results
    from .evaluation import benchmark_config
    if not isinstance(benchmark, Benchmark):
        benchmark = find_benchmark(benchmark)
    out, path = Path(out), Path(path)
    cfg = benchmark_config(benchmark, out, data_root=data_root)
    data = cfg.test_dataloader.dataset
    if 'data_root' in data:
        data.check_images = False
    dataset = DATASETS.build(data)
    field = FIELDS[cfg.model.head.task]
    records = []
    for index in range(len(dataset)):
        item = dataset.get_data_info(index)
        records.append(dict(index=index, **{
            k: plain(v, k) for k, v in item.items() if k not in IMAGE}))
    key = 'question_id' if 'question_id' in records[0] else 'image_id'
    if any('rotation' in x or ('question_id' in x) != (key == 'question_id')
           for x in records):
        raise ConfigError(
            f'{benchmark.name} asks of an image or with a question several '
            'times, which a file of answers by id does not tell apart. Run '
            'the model instead.')
    answers = read_answers(path, [x[key] for x in records], key,
                           _answer_key(path, field), max_faults)
    given = [dict(x, **{field: answers[str(x[key])]}) for x in records
             if str(x[key]) in answers]
    if not given:
        raise DatasetError(f'{path} answers no question of '
                           f'{benchmark.name}.')
    evaluator = Evaluator(cfg.test_evaluator)
    metrics = score(evaluator, given)
    found = per_sample_results(evaluator)
    summary = make_summary(
        title=benchmark.name, notes=benchmark.notes,
        config=str(benchmark.config), metrics=metrics, settings={},
        records=given, found=found, total=len(records), cfg={}, device=None,
        seed=None, run=dict(answers=str(path)))
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / f'{benchmark.name}.json', summary)
    write_report(out / f'{benchmark.name}.html', summary, given, found,
                 dataset.get_data_info)
    return summary


def _answer_key(path: Path, field: str) -> str:
    """``answer``, unless the file is one that a run of ours wrote."""
    try:
        with path.open(encoding='utf-8') as file:
            run = json.loads(file.readline())
    except (OSError, ValueError):
        return 'answer'
    return field if isinstance(run, dict) and 'run' in run else 'answer'
