# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Multiple choice: by what is said, by likelihood, and in circles."""

from ...errors import ConfigError, DatasetError
from ...registry import METRICS
from ..functional.answer_extraction import option
from .answer_metric import AnswerMetric, by_group, percent

WAYS = ('text', 'likelihood')


@METRICS.register_module()
class MultipleChoice(AnswerMetric):
    """How often the right option is chosen, in percent.

    Reads ``gt_answer`` (the option's index) and ``choices``. With ``by``
    ``text`` the option is found in ``pred_answer`` by
    :func:`~..functional.answer_extraction.option`; with ``likelihood`` it is
    the one with the
    highest of ``candidate_scores`` (the first of equals), the mean
    log-probability of each option's tokens, which the head writes for samples
    that bring ``candidates``. Given are
    ``accuracy``, ``unclear`` (answers that name no option, or several;
    they count as wrong and are never drawn at random) and, where
    ``groups`` are set, the accuracy of each.

    Where samples have a ``rotation``, each question is asked once for each
    rotation of its options. Then ``accuracy`` is of the first rotation alone
    (MMBench's "vanilla") and ``circular`` of questions with every rotation
    right; groups are circular.

    Args:
        by: ``text`` or ``likelihood``.
        groups: Fields to give accuracies by, too.
        kwargs: As of :class:`~.answer_metric.AnswerMetric`.
    """

    default_prefix = 'choice'
    needs = ('gt_answer', 'choices')
    keeps = ('rotation', 'question', 'candidate_scores')

    def __init__(self, by: str = 'text', groups: tuple | list = (),
                 **kwargs) -> None:
        if by not in WAYS:
            raise ConfigError(f'There is no way {by!r} to score choices; '
                              f'known: {", ".join(WAYS)}.')
        super().__init__(**kwargs)
        self.by = by
        self.groups = tuple(groups)
        self.keeps = (*self.keeps, *self.groups)

    def process(self, data_batch, data_samples) -> None:
        """Keep answers; those to rotations are told apart."""
        start = len(self.results)
        super().process(data_batch, data_samples)
        for record in self.results[start:]:
            record['question_id'] = record['id']
            if 'rotation' in record:
                record['id'] = f'{record["id"]}/{record["rotation"]}'
            if self.by == 'likelihood' and record['answer'] is None:
                record['answer'] = ''

    def judge(self, record: dict) -> dict:
        """Find the chosen option.

        Raises:
            DatasetError: If scores are wanted and missing.
        """
        wanted, choices = int(record['gt_answer']), record['choices']
        if not 0 <= wanted < len(choices):
            raise DatasetError(
                f'Question {record["id"]} has {len(choices)} options and '
                f'number {wanted} is said to be right.')
        if self.by == 'text':
            found = option(record['answer'], choices)
        else:
            scores = record.get('candidate_scores')
            if scores is None or len(scores) != len(choices):
                raise DatasetError(
                    f'Question {record["id"]} has {len(choices)} options and '
                    f'{0 if scores is None else len(scores)} scores. Let '
                    "PackInputs keep 'candidates' and take a head that "
                    "scores them, as VicunaHead does; else use by='text'.")
            found = max(range(len(choices)), key=lambda i: (scores[i], -i))
        return dict(extracted=found, right=found == wanted)

    def summary(self, details: list[dict]) -> dict[str, float]:
        """Average over questions."""
        scores = {}
        unclear = percent(d['extracted'] is None for d in details)
        if any('rotation' in d for d in details):
            rounds = by_group(details, 'question_id').values()
            for turns in rounds:
                missing = len(turns[0]['choices']) - len(turns)
                if missing:
                    raise DatasetError(
                        f'Question {turns[0]["question_id"]} was asked '
                        f'{len(turns)} times, once for each of its '
                        f'{len(turns[0]["choices"])} options is needed. '
                        'Score whole questions.')
            first = [d for turns in rounds for d in turns
                     if int(d['rotation']) == 0]
            scores['accuracy'] = percent(d['right'] for d in first)
            details = [
                dict(turns[0], right=all(d['right'] for d in turns))
                for turns in rounds
            ]
            scores['circular'] = percent(d['right'] for d in details)
        else:
            scores['accuracy'] = percent(d['right'] for d in details)
        scores['unclear'] = unclear
        for key in self.groups:
            for name, some in by_group(details, key).items():
                scores[f'{key}_{name}'] = percent(d['right'] for d in some)
        return scores
