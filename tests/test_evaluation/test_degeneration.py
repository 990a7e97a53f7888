# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""What counts as a failed generation."""

import pytest

from mmpretrain_minigpt4.errors import ConfigError
from mmpretrain_minigpt4.evaluation import DegenerationRate
from mmpretrain_minigpt4.evaluation.metrics.degeneration import failure

GOOD = ('The image shows a man who rides a brown horse along a beach. The '
        'sky is blue, and there are a few clouds in it.')
POEM = ('A horse runs on the golden sand\nThe wind is in its mane\n'
        'A rider holds the reins in hand\nAnd rides through sun and rain')

PROSE = [
    (GOOD, None),
    ('', 'empty'),
    (' ... !!', 'empty'),
    ('The image shows a dog. ###Human: What is', 'leak'),
    ('<Img></Img> The image shows a dog on a mat in a room.', 'leak'),
    ('Assistant: The image shows a dog on a mat.', 'leak'),
    ('The image.', 'short'),
    ('The image shows two dogs that play in the', 'broken_off'),
    (GOOD[:-1] + ',', 'broken_off'),
    ('There is a dog. ' * 3, 'repeats'),
    ('The image shows a red red red car on a street.', 'repeats'),
    ('It shows a man and a dog and a dog and a dog and a dog', 'repeats'),
    (GOOD + ' There is a dog. There is a dog.', None),
    ('She said: "The image shows a man on a horse."', None),
]


def test_failures_are_told_from_whole_texts():
    assert [(t, r, failure(t)) for t, r in PROSE if failure(t) != r] == []


def test_verse_may_end_without_a_full_stop():
    assert failure(POEM, 'verse') is None
    assert failure(POEM, 'prose') == 'broken_off'
    assert failure(POEM + '\nAnd then the', 'verse') == 'broken_off'
    assert failure('\n'.join(['The wind is cold'] * 3), 'verse') == 'repeats'


def test_a_long_text_of_few_phrases_repeats():
    # Two phrases by turns, in orders that are never the same three times in
    # a row: 33 words, few of their runs of three are different.
    text = ('on the left there is a cup and ' * 2 +
            'on the left there is a cup or ') * 2 + 'more.'
    assert failure(text) == 'repeats'


def test_shares_are_given_by_reason():
    metric = DegenerationRate()
    metric.process(None, [
        dict(image_id=i, pred_caption=text)
        for i, text in enumerate([GOOD, 'The image.', '', GOOD[:-1]])
    ])
    scores = metric.compute_metrics(metric.results)
    assert scores['failed'] == 75
    assert [scores[key] for key in ('short', 'empty', 'broken_off', 'repeats',
                                    'leak')] == [25, 25, 25, 0, 0]
    with pytest.raises(ConfigError, match='verse'):
        DegenerationRate(form='song')
