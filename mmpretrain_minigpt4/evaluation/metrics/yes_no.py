# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Questions with yes and no for an answer: POPE, VSR, hateful memes."""

from collections.abc import Sequence

from ...registry import METRICS
from ..functional.answer_extraction import yes_no
from .answer_metric import AnswerMetric, by_group, percent


def pope_verdict(text: str) -> str:
    """``no`` if the first sentence has No, no or not, else ``yes``.

    POPE's own rule: whatever is no denial counts as yes.

    Source: evaluate.py of POPE.
    """
    words = text.split('.')[0].replace(',', '').split(' ')
    return 'no' if {'No', 'no', 'not'} & set(words) else 'yes'


def counts_to_scores(pairs: Sequence[tuple[str | None, str]]
                     ) -> dict[str, float]:
    """Scores in percent from (given, expected); None is neither yes nor no.

    Yes is the positive class. A ratio with nothing below the line is 0.
    """
    hits = sum(given == wanted == 'yes' for given, wanted in pairs)
    answered_yes = sum(given == 'yes' for given, _ in pairs)
    is_yes = sum(wanted == 'yes' for _, wanted in pairs)
    precision = hits / answered_yes if answered_yes else 0.
    recall = hits / is_yes if is_yes else 0.
    both = precision + recall
    return dict(
        accuracy=percent(given == wanted for given, wanted in pairs),
        precision=100 * precision,
        recall=100 * recall,
        f1=200 * precision * recall / both if both else 0.,
        yes_ratio=100 * answered_yes / len(pairs))


def area_under_curve(scores: Sequence[float], labels: Sequence[bool]
                     ) -> float | None:
    """Share of (positive, negative) pairs in order; a tie counts a half."""
    order = sorted(range(len(scores)), key=scores.__getitem__)
    positives = sum(map(bool, labels))
    negatives = len(labels) - positives
    if not positives or not negatives:
        return None
    rank_sum, start = 0., 0
    while start < len(order):
        end = start
        while (end < len(order)
               and scores[order[end]] == scores[order[start]]):
            end += 1
        # Ranks start + 1 to end, tied: each gets their mean.
        mean = (start + 1 + end) / 2
        rank_sum += mean * sum(bool(labels[i]) for i in order[start:end])
        start = end
    return (rank_sum - positives * (positives + 1) / 2) / (
        positives * negatives)


@METRICS.register_module()
class YesNoAccuracy(AnswerMetric):
    """How often yes and no are right, in percent.

    Reads ``gt_answer`` (``yes`` or ``no``). ``accuracy``, ``precision``,
    ``recall``, ``f1`` and ``yes_ratio`` are of what
    :func:`~..functional.answer_extraction.yes_no` finds; an unclear answer is
    wrong and is
    counted in ``unclear``. Where the head scored the candidates (yes first,
    then no) as ``candidate_scores``, ``auroc`` is given as well.

    Args:
        group: A field to give ``accuracy`` by, too.
        kwargs: As of :class:`~.answer_metric.AnswerMetric`.
    """

    default_prefix = 'yes_no'
    needs = ('gt_answer', )
    keeps = ('candidate_scores', 'question')

    def __init__(self, group: str | None = None, **kwargs) -> None:
        super().__init__(**kwargs)
        self.group = group
        if group:
            self.keeps = (*self.keeps, group)

    def judge(self, record: dict) -> dict:
        """Find yes or no."""
        found = yes_no(record['answer'])
        return dict(extracted=found, right=found == record['gt_answer'])

    def summary(self, details: list[dict]) -> dict[str, float]:
        """Average over all questions."""
        scores = counts_to_scores([(d['extracted'], d['gt_answer'])
                                   for d in details])
        scores['unclear'] = percent(d['extracted'] is None for d in details)
        if all('candidate_scores' in d for d in details):
            margins = [float(d['candidate_scores'][0]) -
                       float(d['candidate_scores'][1]) for d in details]
            area = area_under_curve(
                margins, [d['gt_answer'] == 'yes' for d in details])
            if area is not None:
                scores['auroc'] = 100 * area
        if self.group:
            for name, some in by_group(details, self.group).items():
                scores[f'accuracy_{name}'] = percent(d['right'] for d in some)
        return scores


@METRICS.register_module()
class POPE(YesNoAccuracy):
    """POPE's scores, in percent.

    ``accuracy``, ``precision``, ``recall``, ``f1`` and ``yes_ratio`` are by
    POPE's own rule, which calls everything but a denial a yes;
    ``strict_accuracy`` and ``strict_f1`` are by
    :func:`~..functional.answer_extraction.yes_no`, with unclear answers wrong,
    and ``unclear``
    is their share.
    """

    default_prefix = 'POPE'

    def judge(self, record: dict) -> dict:
        """Find yes or no by both rules."""
        verdict = pope_verdict(record['answer'])
        return dict(
            extracted=yes_no(record['answer']),
            verdict=verdict,
            right=verdict == record['gt_answer'])

    def summary(self, details: list[dict]) -> dict[str, float]:
        """Average over all questions."""
        scores = super().summary(details)
        strict = dict(strict_accuracy=scores['accuracy'],
                      strict_f1=scores['f1'])
        scores.update(counts_to_scores([(d['verdict'], d['gt_answer'])
                                        for d in details]))
        return dict(scores, **strict)
