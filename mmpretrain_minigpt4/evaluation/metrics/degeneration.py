# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The share of failed generations, told by rule.

MiniGPT-4's paper counted by eye how many descriptions and poems repeat
themselves, are fragments or are beside the point. The first two can be seen
without the image; this is a proxy for them, not the paper's own measure.
"""

import re
from collections import Counter

from ...errors import ConfigError
from ...registry import METRICS
from .answer_metric import AnswerMetric, percent

FORMS = ('prose', 'verse')
REASONS = ('empty', 'leak', 'short', 'repeats', 'broken_off')
_LEAK = re.compile(r'###|<\s*/?\s*Img\s*>|<ImageHere>|</?s>|<unk>|'
                   r'\b(?:Human|Assistant)\s*:', re.I)
_END = re.compile(r'[.!?\u2026]["\'\u201d\u2019)\]*]*$')


def failure(text: str, form: str = 'prose', min_words: int = 8
            ) -> str | None:
    """Why a generation has failed, or None.

    In this order:

    * ``empty``: no letter in it;
    * ``leak``: marks of the prompt template or a role's name;
    * ``short``: fewer than ``min_words`` words;
    * ``repeats``: a sentence (in verse: a line) of at least three words
      comes three times, or any one to eight words three times in a row, or
      less than half of the three-word runs of more than 30 words are
      different;
    * ``broken_off``: prose that does not end with ``.``, ``!`` or ``?``, or
      verse that ends in a comma or on a word no line ends on.

    Args:
        text: What was generated.
        form: ``prose`` or ``verse``.
        min_words: See above; 8 is shorter than any description of an image
            in detail.
    """
    text = text.strip()
    if not re.search(r'[^\W\d_]', text):
        return 'empty'
    if _LEAK.search(text):
        return 'leak'
    words = re.findall(r"[^\W_]+(?:'[^\W_]+)?", text.lower())
    if len(words) < min_words:
        return 'short'
    if _repeats(text, words, form):
        return 'repeats'
    if form == 'prose':
        broken = not _END.search(text)
    else:
        broken = bool(re.search(
            r'(?:[,:;-]|\b(?:a|an|the|and|or|of|in|on|with|to|is|are))$',
            text, re.I))
    return 'broken_off' if broken else None


def _repeats(text: str, words: list[str], form: str) -> bool:
    parts = re.split(r'\n' if form == 'verse' else r'[.!?\n]', text)
    units = Counter(' '.join(part.lower().split()) for part in parts
                    if len(part.split()) >= 3)
    # A refrain may come back; three times the same line is no refrain here.
    if units and max(units.values()) >= 3:
        return True
    for size in range(1, 9):
        for i in range(len(words) - 3 * size + 1):
            run = words[i:i + size]
            if (run == words[i + size:i + 2 * size] ==
                    words[i + 2 * size:i + 3 * size]):
                return True
    if len(words) > 30:
        runs = list(zip(words, words[1:], words[2:], strict=False))
        return len(set(runs)) < len(runs) / 2
    return False


@METRICS.register_module()
class DegenerationRate(AnswerMetric):
    """Share of generations that failed, in all and by reason, in percent.

    See :func:`failure` for the reasons; each answer counts for the first
    that holds. ``words`` is the mean length.

    Args:
        form: ``prose`` or ``verse``.
        min_words: See :func:`failure`.
        kwargs: As of :class:`~.answer_metric.AnswerMetric`.
    """

    default_prefix = 'failures'

    def __init__(self,
                 form: str = 'prose',
                 min_words: int = 8,
                 id_key: str = 'image_id',
                 answer_key: str = 'pred_caption',
                 **kwargs) -> None:
        if form not in FORMS:
            raise ConfigError(f'There is no form {form!r}; known: '
                              f'{", ".join(FORMS)}.')
        super().__init__(id_key=id_key, answer_key=answer_key, **kwargs)
        self.form = form
        self.min_words = min_words

    def judge(self, record: dict) -> dict:
        """Look for a reason."""
        reason = failure(record['answer'], self.form, self.min_words)
        return dict(reason=reason, right=reason is None)

    def summary(self, details: list[dict]) -> dict[str, float]:
        """Count reasons."""
        scores = dict(failed=percent(not d['right'] for d in details))
        for reason in REASONS:
            scores[reason] = percent(d['reason'] == reason for d in details)
        scores['words'] = sum(
            len(d['answer'].split()) for d in details) / len(details)
        return scores
