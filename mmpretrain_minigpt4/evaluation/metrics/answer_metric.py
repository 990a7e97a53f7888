# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""What the metrics of questions share, and answers read from a file."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mmengine.evaluator import BaseMetric

from ...errors import DatasetError
from ...utils.faults import Faults


class AnswerMetric(BaseMetric):
    """Judges each answer by itself, then sums up.

    A subclass gives :meth:`judge` and :meth:`summary`. After
    :meth:`compute_metrics` the attribute ``details`` holds one dict for each
    question: ``id``, ``answer``, the facts it was judged by, and the
    verdict, for a report.

    A question answered twice with the same words (as when a sampler pads)
    counts once; different answers to one question, or none, are faults.

    Args:
        id_key: The field that tells samples apart.
        answer_key: The field that holds the answer of the model.
        max_faults: Refuse to score with more faults than that.
        collect_device: As of every metric.
        prefix: As of every metric.
    """

    # Fields that a subclass reads; a missing one is an error.
    needs: tuple[str, ...] = ()
    # Fields that are kept where they are there.
    keeps: tuple[str, ...] = ()

    def __init__(self,
                 id_key: str = 'question_id',
                 answer_key: str = 'pred_answer',
                 max_faults: int = 0,
                 collect_device: str = 'cpu',
                 prefix: str | None = None) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.id_key = id_key
        self.answer_key = answer_key
        self.max_faults = max_faults
        self.details: list[dict] = []

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep each sample's answer and the facts it is judged by.

        Raises:
            DatasetError: If a sample lacks a field.
        """
        for sample in data_samples:
            for key in (self.id_key, *self.needs):
                if sample.get(key) is None:
                    raise DatasetError(
                        f'{type(self).__name__} needs {key!r} in each sample;'
                        f' one has {", ".join(sorted(map(str, sample)))}. Let '
                        'PackInputs keep it (algorithm_keys or meta_keys).')
            record = dict(id=sample[self.id_key],
                          answer=sample.get(self.answer_key))
            for key in (*self.needs, *self.keeps):
                if sample.get(key) is not None:
                    record[key] = sample[key]
            self.results.append(record)

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Check, judge and sum up.

        Raises:
            DatasetError: If there are more faults than allowed.
        """
        records = self.check(results)
        self.details = [dict(r, **self.judge(r)) for r in records]
        if not self.details:
            raise DatasetError(
                f'{type(self).__name__} was given no answer to score.')
        return {k: float(v) for k, v in self.summary(self.details).items()}

    def check(self, results: Iterable[dict]) -> list[dict]:
        """Leave out repeats and faults."""
        faults = Faults('The answers', self.max_faults,
                        'Run the questions again')
        seen: dict[str, dict] = {}
        for record in results:
            name = str(record['id'])
            if record['answer'] is None:
                faults.add('no answer', name)
            elif name not in seen:
                seen[name] = record
            elif seen[name]['answer'] != record['answer']:
                faults.add('answered twice', name)
        faults.raise_if_over_budget()
        return list(seen.values())

    def judge(self, record: dict) -> dict:
        """The verdict on one answer."""
        raise NotImplementedError

    def summary(self, details: list[dict]) -> dict[str, float]:
        """The scores of all, from their verdicts."""
        raise NotImplementedError


def percent(values: Iterable[float]) -> float:
    """The mean in percent; of nothing it is 0."""
    values = list(values)
    return 100 * sum(values) / len(values) if values else 0.


def by_group(details: Iterable[dict], key: str) -> dict[str, list[dict]]:
    """Details by what a field says, in alphabetical order."""
    groups: dict[str, list[dict]] = {}
    for record in details:
        if record.get(key) is not None:
            groups.setdefault(str(record[key]), []).append(record)
    return dict(sorted(groups.items()))


def read_answers(path: str | Path,
                 ids: Iterable,
                 id_key: str = 'question_id',
                 answer_key: str = 'answer',
                 max_faults: int = 0) -> dict[str, str]:
    """Answers from a file, checked against the questions.

    Args:
        path: JSON lines, a JSON list of dicts, or a JSON dict of id and
            answer.
        ids: Of all questions, each of which must have one answer.
        id_key: Of a question's id in the file.
        answer_key: Of the answer's text in the file.
        max_faults: Refuse the file with more faults than that.

    Returns:
        dict: Question id, as a string, to answer.

    Raises:
        DatasetError: If the file is missing or unreadable, or answers are
            missing, repeated, or of no question.
    """
    path = Path(path)
    if not path.is_file():
        raise DatasetError(f'There is no answers file {path}. Run the model '
                           'first, or name the file it wrote.')
    try:
        text = path.read_text(encoding='utf-8-sig')
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f'The answers file {path} cannot be read as '
                           f'UTF-8 text: {error}.') from error
    faults = Faults(f'The answers file {path}', max_faults,
                    'Run the questions again, or take the questions that '
                    'the file was made from')
    answers: dict[str, str] = {}
    for item in _items(text, path, id_key, answer_key):
        name, answer = str(item.get(id_key)), item.get(answer_key)
        if item.get(id_key) is None or not isinstance(answer, str):
            faults.add(f'without {id_key!r} or {answer_key!r}', item)
        elif name in answers:
            faults.add('answered twice', name)
        else:
            answers[name] = answer
    wanted = {str(x) for x in ids}
    for name in sorted(set(answers) - wanted):
        faults.add('of no question', name)
    for name in sorted(wanted - set(answers)):
        faults.add('not answered', name)
    faults.raise_if_over_budget()
    return {k: v for k, v in answers.items() if k in wanted}


def _items(text: str, path: Path, id_key: str, answer_key: str) -> list[dict]:
    try:
        items = _parse(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise DatasetError(f'The answers file {path} is neither JSON nor '
                           f'JSON lines: {error}.') from error
    if not all(isinstance(item, dict) for item in items):
        raise DatasetError(f'The answers file {path} must hold dicts with '
                           f'{id_key!r} and {answer_key!r}.')
    if items and 'run' in items[0] and id_key not in items[0]:
        # The first line of a file that a run of ours wrote.
        return items[1:]
    if len(items) == 1 and answer_key not in items[0]:
        items = [{id_key: k, answer_key: v} for k, v in items[0].items()]
    return items


def _parse(text: str) -> list:
    """A JSON list or dict, or else one value a line."""
    try:
        whole = json.loads(text)
    except json.JSONDecodeError:
        items = []
        # Not splitlines: inside of a JSON text it cuts at U+2028 too.
        for number, line in enumerate(text.split('\n'), 1):
            if not line.strip():
                continue
            try:
                items.append(json.loads(line))
            except json.JSONDecodeError as error:
                raise json.JSONDecodeError(f'line {number}: {error.msg}',
                                           line, error.pos) from None
        return items
    return whole if isinstance(whole, list) else [whole]
