# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Score descriptions of and answers about drawn scenes.

The scenes are drawn, so everything is known: what a description claims is
read back by rule and compared with the facts.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from mmengine.evaluator import BaseMetric

from ...datasets.shapes.language import (
    is_failed,
    question_kind,
    read_description,
)
from ...errors import DatasetError
from ...registry import METRICS
from .answer_metric import by_group, percent


def overlap(found: Iterable, wanted: Iterable) -> tuple[int, int, int]:
    """Size of the multisets' intersection, and of each."""
    found, wanted = Counter(found), Counter(wanted)
    return (found & wanted).total(), found.total(), wanted.total()


def f1(counts: Sequence[tuple[int, int, int]]) -> float:
    """F1 in percent over all samples' overlaps (micro average)."""
    right, found, wanted = (sum(c) for c in zip(*counts, strict=True))
    return 200 * right / (found + wanted) if found + wanted else 100.


ATTRIBUTES = ('color', 'shape', 'size', 'place')


@METRICS.register_module()
class ShapesDescription(BaseMetric):
    """How much of a scene its description tells, and how truly.

    Reads ``pred_caption``, ``objects`` and ``background``; samples with a
    ``question`` are left to :class:`ShapesQuestions`. All in percent:

    * ``objects_f1``: F1 over (color, shape) pairs;
    * ``full_f1``: F1 over (color, shape, size, place);
    * ``color_f1``, ``shape_f1``, ``size_f1``, ``place_f1``: F1 over one
      attribute of the objects;
    * ``background``: the background's color is named right;
    * ``hallucinated``: of the objects named, those not there (the analogue
      of CHAIR_i);
    * ``hallucinating``: descriptions that name an object that is not there
      (the analogue of CHAIR_s);
    * ``failed``: broken off, empty or repeating, see
      :func:`~...datasets.shapes.language.is_failed`;
    * ``perfect``: every fact right and nothing else claimed;

    and ``words``, the mean length of a description. After
    :meth:`compute_metrics` the attribute ``details`` holds a dict for each
    description, for a report; ``right`` in it is ``perfect``.

    Args:
        collect_device: As of every metric.
        prefix: As of every metric.
    """

    default_prefix = 'shapes'
    id_key = 'image_id'

    def __init__(self, collect_device: str = 'cpu',
                 prefix: str | None = None) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.details: list[dict] = []

    def process(self, data_batch, data_samples: Sequence[dict]) -> None:
        """Read what each description claims."""
        for sample in data_samples:
            if sample.get('question') is not None:
                continue
            text = sample['pred_caption']
            objects = [tuple(o) for o in sample['objects']]
            found, ground = read_description(text)
            pairs = overlap([o[:2] for o in found], [o[:2] for o in objects])
            full = overlap(found, objects)
            right_ground = ground == sample['background']
            extra = Counter(o[:2] for o in found) - Counter(
                o[:2] for o in objects)
            self.results.append(
                dict(
                    id=sample.get('image_id'),
                    answer=text,
                    kind='description',
                    pairs=pairs,
                    full=full,
                    attributes=[
                        overlap([o[i] for o in found if o[i]],
                                [o[i] for o in objects])
                        for i in range(len(ATTRIBUTES))
                    ],
                    ground=right_ground,
                    hallucinated=[
                        ' '.join(filter(None, o)) for o in extra.elements()
                    ],
                    failed=is_failed(text),
                    right=right_ground and full[0] == full[1] == full[2],
                    words=len(text.split())))

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Average over the scenes.

        Raises:
            DatasetError: If there is no description.
        """
        if not results:
            raise DatasetError('ShapesDescription was given no description.')
        self.details = results
        named = sum(r['pairs'][1] for r in results)
        wrong = sum(len(r['hallucinated']) for r in results)

        def mean(key: str) -> float:
            return sum(r[key] for r in results) / len(results)

        scores = dict(
            objects_f1=f1([r['pairs'] for r in results]),
            full_f1=f1([r['full'] for r in results]))
        for i, name in enumerate(ATTRIBUTES):
            scores[f'{name}_f1'] = f1([r['attributes'][i] for r in results])
        return dict(
            scores,
            background=100 * mean('ground'),
            hallucinated=100 * wrong / named if named else 0.,
            hallucinating=percent(bool(r['hallucinated']) for r in results),
            failed=100 * mean('failed'),
            perfect=100 * mean('right'),
            words=mean('words'))


@METRICS.register_module()
class ShapesQuestions(BaseMetric):
    """Share of questions answered right, in all and by kind, in percent.

    Reads ``gt_answer`` and ``question``; samples without a question are left
    to :class:`ShapesDescription`. An answer is right if it is the expected
    one but for case, blanks and the full stop. After
    :meth:`compute_metrics` the attribute ``details`` holds a dict for each
    question, for a report.

    Args:
        answer_key: The field that holds the answer of the model.
        collect_device: As of every metric.
        prefix: As of every metric.
    """

    default_prefix = 'shapes'
    id_key = 'question_id'

    def __init__(self, answer_key: str = 'pred_answer',
                 collect_device: str = 'cpu',
                 prefix: str | None = None) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.answer_key = answer_key
        self.details: list[dict] = []

    def process(self, data_batch, data_samples: Sequence[dict]) -> None:
        """Compare each answer with the expected one."""
        for sample in data_samples:
            if sample.get('question') is None:
                continue
            answer, wanted = (' '.join(
                str(sample[key]).lower().split()).rstrip('.')
                              for key in (self.answer_key, 'gt_answer'))
            self.results.append(
                dict(
                    id=sample.get('question_id'),
                    answer=sample[self.answer_key],
                    kind=question_kind(sample['question']),
                    right=answer == wanted))

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Average over the questions.

        Raises:
            DatasetError: If there is no question.
        """
        if not results:
            raise DatasetError('ShapesQuestions was given no question.')
        self.details = results
        scores = dict(accuracy=percent(r['right'] for r in results))
        for kind, some in by_group(results, 'kind').items():
            scores[kind.replace(' ', '_')] = percent(r['right'] for r in some)
        return scores
