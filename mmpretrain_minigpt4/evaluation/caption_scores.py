# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""BLEU, ROUGE-L and CIDEr of captions, without Java and without a download."""

import re
from collections.abc import Sequence
from typing import Any

from mmengine.evaluator import BaseMetric
from mmengine.fileio import load

from ..errors import DatasetError
from ..registry import METRICS

WORD = re.compile(r"[a-z0-9]+(?:'[a-z]+)?")


def words(text: str) -> str:
    """Lower a text and keep its words, as the scorers want it."""
    return ' '.join(WORD.findall(text.lower()))


@METRICS.register_module()
class CaptionScores(BaseMetric):
    """Compare captions with COCO's references.

    The toolbox's own metric runs all scorers of pycocoevalcap, of which
    SPICE fetches a Java program and METEOR and the tokenizer start one. This
    runs those that are plain Python, on words found by a regular expression
    rather than by the Penn Treebank tokenizer; scores differ a little from
    published ones for that reason.

    Args:
        ann_file: JSON with ``annotations``, a list of ``image_id`` and
            ``caption``, several for an image.
        collect_device: As of every metric.
        prefix: As of every metric.
    """

    default_prefix = 'COCO'

    def __init__(self,
                 ann_file: str,
                 collect_device: str = 'cpu',
                 prefix: str | None = None) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.ann_file = ann_file

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the caption and the image id of each sample."""
        for sample in data_samples:
            self.results.append(
                (str(int(sample['image_id'])), sample['pred_caption']))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Score all captions.

        Raises:
            DatasetError: If an image has no reference.
            ImportError: If pycocoevalcap is not installed.
        """
        try:
            from pycocoevalcap.bleu.bleu import Bleu
            from pycocoevalcap.cider.cider import Cider
            from pycocoevalcap.rouge.rouge import Rouge
        except ImportError as error:
            raise ImportError(
                'The caption scores need pycocoevalcap; install it by `pip '
                'install "mmpretrain-minigpt4[eval]"`.') from error
        references: dict[str, list[str]] = {}
        for item in load(self.ann_file)['annotations']:
            references.setdefault(str(item['image_id']),
                                  []).append(words(item['caption']))
        answers = {image: [words(text)] for image, text in results}
        lost = [image for image in answers if image not in references]
        if lost:
            raise DatasetError(
                f'{self.ann_file} has no reference for {len(lost)} of '
                f'{len(answers)} images, {lost[0]} for one: it is of another '
                'split than the data set.')
        references = {image: references[image] for image in answers}
        bleu, _ = Bleu(4).compute_score(references, answers, verbose=0)
        rouge, _ = Rouge().compute_score(references, answers)
        cider, _ = Cider().compute_score(references, answers)
        scores = {f'Bleu_{n}': score for n, score in enumerate(bleu, 1)}
        return dict(scores, ROUGE_L=float(rouge), CIDEr=float(cider))
