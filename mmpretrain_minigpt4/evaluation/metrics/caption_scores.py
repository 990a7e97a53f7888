# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""BLEU, ROUGE-L and CIDEr of captions; METEOR and SPICE where they can be.

Nothing is downloaded. Java is used where it is there, and the scores tell
whether it was.
"""

import logging
import re
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.evaluator import BaseMetric
from mmengine.fileio import load
from mmengine.logging import print_log

from ...errors import ConfigError, DatasetError
from ...registry import METRICS

WORD = re.compile(r"[a-z0-9]+(?:'[a-z]+)?")
SCORERS = ('BLEU', 'ROUGE_L', 'CIDEr', 'METEOR', 'SPICE')
TOKENIZERS = ('auto', 'ptb', 'words')
Captions = dict[str, list[str]]


def words(text: str) -> str:
    """Lower a text and keep its words, as the scorers want it."""
    return ' '.join(WORD.findall(text.lower()))


def has_java() -> bool:
    """Whether there is a Java to start."""
    return shutil.which('java') is not None


def spice_is_there() -> bool:
    """Whether SPICE's parser lies where pycocoevalcap would download it."""
    from importlib.util import find_spec
    from pathlib import Path
    spec = find_spec('pycocoevalcap.spice')
    if spec is None or not spec.origin:
        return False
    folder = Path(spec.origin).parent / 'lib'
    return has_java() and any(folder.glob('stanford-corenlp-3.6.0*.jar'))


def tokenize(*groups: Captions, how: str = 'auto'
             ) -> tuple[list[Captions], bool]:
    """Captions as the scorers want them, and whether Java cut them.

    Args:
        groups: Captions of each image, several sets.
        how: ``ptb`` for the Penn Treebank tokenizer, which published scores
            are made with and which needs Java; ``words`` for a regular
            expression; ``auto`` for the first that works.
    """
    if how != 'words':
        try:
            return [_ptb(captions) for captions in groups], True
        except (ImportError, OSError, ValueError) as error:
            if how == 'ptb':
                raise ConfigError(
                    f'The Penn Treebank tokenizer cannot run: {error}. '
                    "Install Java and pycocoevalcap, or set "
                    "tokenizer='words'.") from error
            print_log(
                f'Captions are cut by a regular expression ({error}); scores '
                'differ a little from published ones.',
                logger='current',
                level=logging.WARNING)
    return [{
        image: [words(text) for text in texts]
        for image, texts in captions.items()
    } for captions in groups], False


def _ptb(captions: Captions) -> Captions:
    if not has_java():
        raise OSError('there is no Java')
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer
    found = PTBTokenizer().tokenize({
        # One line each: other line breaks would shift the captions after.
        image: [dict(caption=' '.join(text.split())) for text in texts]
        for image, texts in captions.items()
    })
    if {k: len(v) for k, v in found.items()} != {
            k: len(v) for k, v in captions.items()}:
        raise ValueError('the tokenizer gave another number of captions')
    return found


@METRICS.register_module()
class CaptionScores(BaseMetric):
    """Compare captions with references, as pycocoevalcap does.

    ``Bleu_1`` to ``Bleu_4``, ``ROUGE_L`` and ``CIDEr`` are plain Python.
    ``METEOR`` and ``SPICE`` need Java, and SPICE a parser that
    pycocoevalcap would download: they are left out, and the log says so,
    where these are missing. ``ptb_tokenizer`` is 1 where captions were cut
    by the Penn Treebank tokenizer (Java), as for published scores, and 0
    where by a regular expression; the scores then differ a little. ``words``
    is the mean length of a caption, which these scores punish.

    Args:
        ann_file: JSON with ``annotations``, a list of ``image_id`` and
            ``caption``, several for an image. By default references are
            each sample's ``gt_caption``, a string or a list.
        scorers: Some of BLEU, ROUGE_L, CIDEr, METEOR, SPICE.
        tokenizer: See :func:`tokenize`.
        group: A field of samples; CIDEr is given for each of its values,
            scored by itself (NoCaps' domains).
        collect_device: As of every metric.
        prefix: As of every metric.
    """

    default_prefix = 'COCO'

    def __init__(self,
                 ann_file: str | None = None,
                 scorers: Sequence[str] = ('BLEU', 'ROUGE_L', 'CIDEr'),
                 tokenizer: str = 'auto',
                 group: str | None = None,
                 collect_device: str = 'cpu',
                 prefix: str | None = None) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        if tokenizer not in TOKENIZERS:
            raise ConfigError(f'There is no tokenizer {tokenizer!r}; known: '
                              f'{", ".join(TOKENIZERS)}.')
        for name in scorers:
            if name not in SCORERS:
                raise ConfigError(f'There is no scorer {name!r}; known: '
                                  f'{", ".join(SCORERS)}.')
        self.ann_file = ann_file
        self.scorers = tuple(scorers)
        self.tokenizer = tokenizer
        self.group = group
        self.details: list[dict] = []

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the caption, the image id and references of each sample."""
        for sample in data_samples:
            references = sample.get('gt_caption')
            if isinstance(references, str):
                references = [references]
            self.results.append(
                dict(
                    id=_plain_id(sample['image_id']),
                    answer=sample['pred_caption'],
                    references=None if self.ann_file else references,
                    group=sample.get(self.group) if self.group else None))

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Score all captions.

        Raises:
            DatasetError: If an image has no reference, or two captions.
            ImportError: If pycocoevalcap is not installed.
        """
        unique: dict[str, dict] = {}
        for record in results:
            other = unique.setdefault(record['id'], record)
            if other['answer'] != record['answer']:
                raise DatasetError(
                    f'Image {record["id"]} has two different captions: the '
                    'data set gives it more than once. Give one sample for '
                    'each image.')
        self.details = list(unique.values())
        references = self._references(unique)
        answers = {image: [r['answer']] for image, r in unique.items()}
        (answers, references), ptb = tokenize(
            answers, references, how=self.tokenizer)
        scores = score_captions(answers, references, self.scorers)
        scores['ptb_tokenizer'] = float(ptb)
        scores['words'] = sum(
            len(r['answer'].split()) for r in unique.values()) / len(unique)
        groups: dict[str, list[str]] = {}
        for image, record in unique.items():
            if record['group'] is not None:
                groups.setdefault(str(record['group']), []).append(image)
        for name, images in sorted(groups.items()):
            some = score_captions({i: answers[i] for i in images},
                                  {i: references[i] for i in images},
                                  ('CIDEr', ))
            scores[f'CIDEr_{name}'] = some['CIDEr']
        return scores

    def _references(self, unique: Mapping[str, dict]) -> Captions:
        if self.ann_file is None:
            references = {k: r['references'] for k, r in unique.items()}
            source = 'The data set'
        else:
            references = {}
            for item in load(self.ann_file)['annotations']:
                references.setdefault(_plain_id(item['image_id']),
                                      []).append(item['caption'])
            source = str(self.ann_file)
        lost = [image for image in unique if not references.get(image)]
        if lost:
            raise DatasetError(
                f'{source} has no reference for {len(lost)} of '
                f'{len(unique)} images, {lost[0]} for one: it is of another '
                'split than the data set.')
        return {image: references[image] for image in unique}


def score_captions(answers: Captions, references: Captions,
                   scorers: Sequence[str]) -> dict[str, float]:
    """Scores of captions that are cut into words already.

    Raises:
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
    scores: dict[str, float] = {}
    if 'BLEU' in scorers:
        bleu, _ = Bleu(4).compute_score(references, answers, verbose=0)
        scores.update({f'Bleu_{n}': float(x) for n, x in enumerate(bleu, 1)})
    if 'ROUGE_L' in scorers:
        scores['ROUGE_L'] = float(Rouge().compute_score(
            references, answers)[0])
    if 'CIDEr' in scorers:
        scores['CIDEr'] = float(Cider().compute_score(
            references, answers)[0])
    if 'METEOR' in scorers and _can('METEOR', has_java(), 'Java'):
        from pycocoevalcap.meteor.meteor import Meteor
        scores['METEOR'] = float(Meteor().compute_score(
            references, answers)[0])
    if 'SPICE' in scorers and _can('SPICE', spice_is_there(),
                                   'Java and its parser'):
        from pycocoevalcap.spice.spice import Spice
        scores['SPICE'] = float(Spice().compute_score(
            references, answers)[0])
    return scores


def _can(scorer: str, able: bool, wants: str) -> bool:
    if not able:
        print_log(f'{scorer} is left out: it needs {wants}, which are not '
                  'here.', logger='current', level=logging.WARNING)
    return able


def _plain_id(image_id: Any) -> str:
    text = str(image_id)
    return str(int(text)) if text.isdigit() else text
