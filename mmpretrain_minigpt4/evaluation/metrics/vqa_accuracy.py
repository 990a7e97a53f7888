# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Accuracy of open answers: the VQA challenge's, A-OKVQA's, and plain."""

from collections.abc import Sequence

from ...errors import ConfigError
from ...registry import METRICS
from ..functional.answer_extraction import short_phrase
from ..functional.vqa_normalization import normalize, plain
from .answer_metric import AnswerMetric, by_group, percent

RULES = ('vqa', 'direct', 'exact')


def vqa_accuracy(answer: str, references: Sequence[str]) -> float:
    """Accuracy of an answer among about ten people's, 0 to 1.

    The mean, over leaving out each person in turn, of ``min(1, n / 3)``,
    where ``n`` others gave the same answer. If all gave the same, nothing is
    normalised. A single reference counts as right or wrong.
    """
    references = [plain(text) for text in references]
    answer = plain(answer)
    if len(references) == 1:
        return float(normalize(answer) == normalize(references[0]))
    if len(set(references)) > 1:
        references = [normalize(text) for text in references]
        answer = normalize(answer)
    same = [text == answer for text in references]
    return sum(
        min(1, (sum(same) - own) / 3) for own in same) / len(same)


def direct_accuracy(answer: str, references: Sequence[str]) -> float:
    """``min(1, n / 3)`` of word-for-word matches, A-OKVQA's rule."""
    return min(1., sum(answer == text for text in references) / 3)


def exact_accuracy(answer: str, references: Sequence[str]) -> float:
    """Whether the answer is one of the references, GQA's rule."""
    return float(answer in references)


@METRICS.register_module()
class VQAAccuracy(AnswerMetric):
    """How often open answers agree with people's.

    Reads ``gt_answer``, a string or a list with one entry for each person
    (or, with ``gt_answer_weight``, one for each distinct answer, as the
    toolbox's data sets give it), and ``question``. In percent:

    * ``acc``: by the benchmark's own scorer, on the short phrase that
      :func:`~..functional.answer_extraction.short_phrase` finds; 0 for an
      unclear answer;
    * ``raw_acc``: by the same scorer on the answer as it came: what other
      tables print, near 0 for a chatty model;
    * ``unclear``: answers in which no short phrase was found;

    and ``words``, the mean length of an answer.

    Args:
        rule: ``vqa`` (VQAv2, OK-VQA, TextVQA, VizWiz), ``direct`` (A-OKVQA)
            or ``exact`` (GQA; extracted answers are lower case, and so are
            the references then).
        group: A field to give ``acc`` by, too.
        people: How many answers weights are shares of.
        kwargs: As of :class:`~.answer_metric.AnswerMetric`.

    Source: the evaluation code of each benchmark.
    """

    default_prefix = 'VQA'
    needs = ('gt_answer', )
    keeps = ('gt_answer_weight', 'question')

    def __init__(self, rule: str = 'vqa', group: str | None = None,
                 people: int = 10, **kwargs) -> None:
        if rule not in RULES:
            raise ConfigError(f'There is no rule {rule!r}; known: '
                              f'{", ".join(RULES)}.')
        super().__init__(**kwargs)
        self.rule = dict(vqa=vqa_accuracy, direct=direct_accuracy,
                         exact=exact_accuracy)[rule]
        self.group = group
        self.people = people
        if group:
            self.keeps = (*self.keeps, group)

    def judge(self, record: dict) -> dict:
        """Score an answer as it came and as it was extracted."""
        references = record['gt_answer']
        if isinstance(references, str):
            references = [references]
        weights = record.get('gt_answer_weight')
        if weights is not None:
            references = [
                text for text, weight in zip(references, weights, strict=True)
                for _ in range(round(weight * self.people))
            ]
        found = short_phrase(record['answer'], record.get('question', ''))
        score = 0.
        if found is not None and references:
            wanted = references
            if self.rule is not vqa_accuracy:
                wanted = [text.lower() for text in references]
            score = self.rule(found, wanted)
        raw = self.rule(record['answer'], references) if references else 0.
        return dict(extracted=found, raw=raw, score=score,
                    right=score >= 0.5)

    def summary(self, details: list[dict]) -> dict[str, float]:
        """Average over all questions."""
        scores = dict(
            acc=percent(d['score'] for d in details),
            raw_acc=percent(d['raw'] for d in details),
            unclear=percent(d['extracted'] is None for d in details),
            words=sum(len(d['answer'].split()) for d in details) /
            len(details))
        if self.group:
            for name, some in by_group(details, self.group).items():
                scores[f'acc_{name}'] = percent(d['score'] for d in some)
        return scores
