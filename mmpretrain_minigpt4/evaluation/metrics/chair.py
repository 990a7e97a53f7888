# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""CHAIR: objects that a caption names and that are not in the image."""

from collections.abc import Sequence
from pathlib import Path

from mmengine.fileio import load

from ...errors import DatasetError
from ...registry import METRICS
from ..functional.coco_objects import ObjectWords
from .answer_metric import AnswerMetric, percent


@METRICS.register_module()
class CHAIR(AnswerMetric):
    """Hallucinated objects of captions on COCO, in percent.

    An image's true objects are those of COCO's instance annotations and
    those that its reference captions name.

    * ``CHAIR_s``: captions with at least one object that is not there;
    * ``CHAIR_i``: of the mentions of objects, those not there;
    * ``recall``: of the true objects, those named;

    and ``words``, the mean length of a caption, without which the others say
    little.

    Args:
        instances: ``instances_*2014.json``, one file or several.
        captions: ``captions_*2014.json``, one file or several; without them
            more counts as hallucinated.
        synonyms: See :class:`~..functional.coco_objects.ObjectWords`.
        kwargs: As of :class:`~.answer_metric.AnswerMetric`.

    Source: Rohrbach et al. 2018 (the words are this package's own).
    """

    default_prefix = 'CHAIR'

    def __init__(self,
                 instances: str | Sequence[str],
                 captions: str | Sequence[str] = (),
                 synonyms: str | None = None,
                 id_key: str = 'image_id',
                 answer_key: str = 'pred_caption',
                 **kwargs) -> None:
        super().__init__(id_key=id_key, answer_key=answer_key, **kwargs)
        self.instances = _files(instances)
        self.captions = _files(captions)
        self.words = ObjectWords(synonyms)
        self.truth: dict[str, set[str]] = {}

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Read the truth of the images answered, then score.

        Raises:
            DatasetError: If an image is in no annotation file.
        """
        for record in results:
            record['id'] = str(int(record['id']))
        self.truth = self.read_truth({record['id'] for record in results})
        return super().compute_metrics(results)

    def read_truth(self, ids: set[str]) -> dict[str, set[str]]:
        """The true objects of some images."""
        truth: dict[str, set[str]] = {}
        for path in self.instances:
            content = load(path)
            names = {c['id']: c['name'] for c in content['categories']}
            for image in content['images']:
                if str(image['id']) in ids:
                    truth.setdefault(str(image['id']), set())
            for item in content['annotations']:
                objects = truth.get(str(item['image_id']))
                if objects is not None:
                    name = names[item['category_id']]
                    objects.add(self.words.category.get(name, name))
        for path in self.captions:
            for item in load(path)['annotations']:
                objects = truth.get(str(item['image_id']))
                if objects is not None:
                    objects.update(
                        category
                        for _, category in self.words.find(item['caption']))
        lost = sorted(ids - set(truth))
        if lost:
            raise DatasetError(
                f'{len(lost)} of {len(ids)} images, {lost[0]} for one, are in '
                f'none of {", ".join(self.instances)}: it is of another split '
                'than the data set.')
        return truth

    def judge(self, record: dict) -> dict:
        """Find the objects a caption names and check each."""
        mentions = self.words.find(record['answer'])
        truth = self.truth[record['id']]
        wrong = [word for word, name in mentions if name not in truth]
        return dict(
            mentions=len(mentions),
            hallucinated=wrong,
            named=len({name for _, name in mentions} & truth),
            objects=sorted(truth),
            right=not wrong)

    def summary(self, details: list[dict]) -> dict[str, float]:
        """Sum up over captions and over mentions."""
        mentions = sum(d['mentions'] for d in details)
        wrong = sum(len(d['hallucinated']) for d in details)
        objects = sum(len(d['objects']) for d in details)
        named = sum(d['named'] for d in details)
        return dict(
            CHAIR_s=percent(bool(d['hallucinated']) for d in details),
            CHAIR_i=100 * wrong / mentions if mentions else 0.,
            recall=100 * named / objects if objects else 0.,
            words=sum(len(d['answer'].split()) for d in details) /
            len(details))


def _files(names: str | Sequence[str]) -> list[str]:
    names = [names] if isinstance(names, (str, Path)) else list(names)
    for name in names:
        if not Path(name).is_file():
            raise DatasetError(
                f'There is no file {name}. It comes with COCO\'s '
                'annotations_trainval2014.zip (https://cocodataset.org, '
                '"2014 Train/Val annotations"); unpack it so that the file '
                'lies there, or name it where it is.')
    return [str(name) for name in names]
