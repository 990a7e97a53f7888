# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""How many of an image's reference captions a description covers."""

from collections.abc import Mapping, Sequence

from ...errors import ConfigError, DatasetError
from ...registry import METRICS
from ..functional.judges import EmbeddingJudge, EndpointJudge, Judge, WordJudge
from .answer_metric import AnswerMetric

JUDGES = dict(words=WordJudge, embedding=EmbeddingJudge,
              endpoint=EndpointJudge)


@METRICS.register_module()
class CaptionRecall(AnswerMetric):
    """Reference captions whose content a detailed description holds.

    Reads ``gt_caption``, a list. ``covered`` is their mean number for an
    image, ``of`` how many there are on average, ``share`` the share in
    percent, ``words`` the mean length of a description.

    The paper asks GPT-4 whether a description covers a caption (MiniGPT-4
    2.22 of 5, BLIP-2 1.96); another judge gives other numbers, comparable
    only among themselves.

    Args:
        judge: ``dict(type='words'|'embedding'|'endpoint', ...)`` with the
            arguments of the judge of that name, or any object with
            ``covers(description, captions) -> list[bool]``.
        kwargs: As of :class:`~.answer_metric.AnswerMetric`.
    """

    default_prefix = 'covered'
    needs = ('gt_caption', )

    def __init__(self,
                 judge: Mapping | Judge | None = None,
                 id_key: str = 'image_id',
                 answer_key: str = 'pred_caption',
                 **kwargs) -> None:
        super().__init__(id_key=id_key, answer_key=answer_key, **kwargs)
        judge = dict(type='words') if judge is None else judge
        if isinstance(judge, Mapping):
            settings = dict(judge)
            name = settings.pop('type', None)
            if name not in JUDGES:
                raise ConfigError(f'There is no judge {name!r}; known: '
                                  f'{", ".join(JUDGES)}.')
            judge = JUDGES[name](**settings)
        if not hasattr(judge, 'covers'):
            raise ConfigError('A judge is a dict with a type, or has a method '
                              f'covers; {judge!r} is neither.')
        self.judge_of = judge

    def judge(self, record: dict) -> dict:
        """Ask the judge about each reference.

        Raises:
            DatasetError: If an image has no reference.
        """
        captions: Sequence[str] = record['gt_caption']
        captions = [captions] if isinstance(captions, str) else list(captions)
        if not captions:
            raise DatasetError(f'Image {record["id"]} has no reference '
                               'caption.')
        verdicts = list(self.judge_of.covers(record['answer'], captions))
        if len(verdicts) != len(captions):
            raise ConfigError(f'The judge gave {len(verdicts)} verdicts on '
                              f'{len(captions)} captions.')
        return dict(covers=[bool(x) for x in verdicts],
                    right=sum(map(bool, verdicts)) * 2 >= len(captions))

    def summary(self, details: list[dict]) -> dict[str, float]:
        """Average over images."""
        covered = sum(sum(d['covers']) for d in details)
        captions = sum(len(d['covers']) for d in details)
        return dict(
            covered=covered / len(details),
            of=captions / len(details),
            share=100 * covered / captions,
            words=sum(len(d['answer'].split()) for d in details) /
            len(details))
