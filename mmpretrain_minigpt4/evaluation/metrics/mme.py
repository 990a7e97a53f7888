# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""MME: two questions an image, fourteen tasks."""

from collections.abc import Callable

from ...errors import DatasetError
from ...registry import METRICS
from ..functional.answer_extraction import yes_no
from .answer_metric import AnswerMetric, by_group, percent

PERCEPTION = ('existence', 'count', 'position', 'color', 'posters',
              'celebrity', 'scene', 'landmark', 'artwork', 'OCR')
COGNITION = ('commonsense_reasoning', 'numerical_calculation',
             'text_translation', 'code_reasoning')


def mme_verdict(text: str) -> str | None:
    """Yes or no by MME's own rule: in the first four characters.

    Source: eval_tool/calculation.py of MME.
    """
    text = text.lower()
    if text in ('yes', 'no'):
        return text
    start = text[:4]
    return 'yes' if 'yes' in start else 'no' if 'no' in start else None


@METRICS.register_module()
class MME(AnswerMetric):
    """MME's scores: for each task, accuracy and accuracy+ in percent, added.

    Reads ``gt_answer`` (``yes`` or ``no``), ``task`` and ``image_id``.
    Accuracy+ is the share of images with both questions right. Given are
    ``perception`` (at most 2000), ``cognition`` (800), ``total`` and each
    task (200), by MME's own reading of answers, then the same of what
    :func:`~..functional.answer_extraction.yes_no` finds as ``extracted_...``,
    and ``unclear``,
    the share in which that found nothing, in percent.
    """

    default_prefix = 'MME'
    needs = ('gt_answer', 'task', 'image_id')
    keeps = ('question', )

    def judge(self, record: dict) -> dict:
        """Find yes or no by both rules."""
        verdict = mme_verdict(record['answer'])
        return dict(
            extracted=yes_no(record['answer']),
            verdict=verdict,
            right=verdict == record['gt_answer'])

    def summary(self, details: list[dict]) -> dict[str, float]:
        """Add up tasks.

        Raises:
            DatasetError: If an image has not two questions.
        """
        scores = _scores(details, lambda d: d['verdict'])
        extracted = _scores(details, lambda d: d['extracted'])
        for name in ('perception', 'cognition', 'total'):
            if name in extracted:
                scores[f'extracted_{name}'] = extracted[name]
        scores['unclear'] = percent(d['extracted'] is None for d in details)
        return scores


def _scores(details: list[dict], read: Callable) -> dict[str, float]:
    tasks = {}
    for task, some in by_group(details, 'task').items():
        images: dict[str, list[bool]] = {}
        for d in some:
            images.setdefault(str(d['image_id']),
                              []).append(read(d) == d['gt_answer'])
        odd = [name for name, right in images.items() if len(right) != 2]
        if odd:
            raise DatasetError(
                f'MME asks two questions about each image; {len(odd)} of '
                f'{len(images)} images of the task {task} have another '
                f'number of answers, {odd[0]} for one. Score whole tasks.')
        tasks[task] = percent(x for right in images.values()
                              for x in right) + percent(
                                  all(right) for right in images.values())
    sums = {}
    for name, members in (('perception', PERCEPTION), ('cognition',
                                                       COGNITION)):
        here = [tasks[task] for task in members if task in tasks]
        if here:
            sums[name] = sum(here)
    return dict(sums, total=sum(sums.values()), **tasks)
