# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Score descriptions of and answers about drawn scenes.

The scenes are drawn, so everything is known: what a description claims is
read back by rule and compared with the facts.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from mmengine.evaluator import BaseMetric

from ..datasets.shapes.language import (
    is_failed,
    question_kind,
    read_description,
)
from ..registry import METRICS


def overlap(found: Iterable, wanted: Iterable) -> tuple[int, int, int]:
    """Size of the multisets' intersection, and of each."""
    found, wanted = Counter(found), Counter(wanted)
    return (found & wanted).total(), found.total(), wanted.total()


def f1(counts: Sequence[tuple[int, int, int]]) -> float:
    """F1 in percent over all samples' overlaps (micro average)."""
    right, found, wanted = (sum(c) for c in zip(*counts, strict=True))
    return 200 * right / (found + wanted) if found + wanted else 100.


@METRICS.register_module()
class ShapesDescription(BaseMetric):
    """How much of a scene its description tells, and how truly.

    Reads ``pred_caption``, ``objects`` and ``background``. All in percent:

    * ``objects_f1``: F1 over (color, shape) pairs;
    * ``full_f1``: F1 over (color, shape, size, place);
    * ``background``: the background's color is named right;
    * ``hallucinated``: of the objects named, those not there (the analogue
      of CHAIR_i);
    * ``failed``: broken off, empty or repeating, see
      :func:`~..datasets.shapes.language.is_failed`;
    * ``perfect``: every fact right and nothing else claimed;

    and ``words``, the mean length of a description.
    """

    default_prefix = 'shapes'

    def process(self, data_batch, data_samples: Sequence[dict]) -> None:
        """Read what each description claims."""
        for sample in data_samples:
            text = sample['pred_caption']
            objects = [tuple(o) for o in sample['objects']]
            found, ground = read_description(text)
            pairs = overlap([o[:2] for o in found], [o[:2] for o in objects])
            full = overlap(found, objects)
            right_ground = ground == sample['background']
            self.results.append(
                dict(
                    pairs=pairs,
                    full=full,
                    ground=right_ground,
                    failed=is_failed(text),
                    perfect=right_ground and full[0] == full[1] == full[2],
                    words=len(text.split())))

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Average over the scenes."""
        named = sum(r['pairs'][1] for r in results)
        right = sum(r['pairs'][0] for r in results)

        def mean(key: str) -> float:
            return sum(r[key] for r in results) / len(results)

        return dict(
            objects_f1=f1([r['pairs'] for r in results]),
            full_f1=f1([r['full'] for r in results]),
            background=100 * mean('ground'),
            hallucinated=100 * (named - right) / named if named else 0.,
            failed=100 * mean('failed'),
            perfect=100 * mean('perfect'),
            words=mean('words'))


@METRICS.register_module()
class ShapesQuestions(BaseMetric):
    """Share of questions answered right, in all and by kind, in percent.

    Reads ``pred_answer``, ``gt_answer`` and ``question``. An answer is right
    if it is the expected one but for case, blanks and the full stop.
    """

    default_prefix = 'shapes'

    def process(self, data_batch, data_samples: Sequence[dict]) -> None:
        """Compare each answer with the expected one."""
        for sample in data_samples:
            answer, wanted = (' '.join(
                str(sample[key]).lower().split()).rstrip('.')
                              for key in ('pred_answer', 'gt_answer'))
            self.results.append(
                (question_kind(sample['question']), answer == wanted))

    def compute_metrics(self, results: list[tuple]) -> dict[str, float]:
        """Average over the questions."""
        kinds = defaultdict(list)
        for kind, right in results:
            kinds[kind].append(right)
            kinds['accuracy'].append(right)
        return {
            kind.replace(' ', '_'): 100 * sum(right) / len(right)
            for kind, right in kinds.items()
        }
