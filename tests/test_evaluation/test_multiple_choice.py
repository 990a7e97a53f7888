# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Multiple choice, in circles and by likelihood, worked out by hand."""

import pytest

from mmpretrain_minigpt4.errors import ConfigError, DatasetError
from mmpretrain_minigpt4.evaluation import MultipleChoice

CHOICES = ['cat', 'dog', 'bird']


def score(metric, samples):
    metric.process(None, samples)
    return metric.compute_metrics(metric.results)


def sample(i, answer, wanted=1, **more):
    return dict(question_id=i, pred_answer=answer, gt_answer=wanted,
                choices=more.pop('choices', CHOICES), **more)


def test_an_answer_without_an_option_is_unclear_and_wrong():
    metric = MultipleChoice(groups=['category'])
    scores = score(metric, [
        sample(1, 'B', category='animals'),
        sample(2, 'The animal is a dog.', category='animals'),
        sample(3, 'A cat or a dog.', category='pets'),
        sample(4, 'A', category='pets'),
    ])
    assert scores == dict(unclear=25, accuracy=50, category_animals=100,
                          category_pets=0)
    assert [d['extracted'] for d in metric.details] == [1, 1, None, 0]


def test_the_same_answers_give_the_same_score_every_time():
    samples = [sample(i, 'I do not know.') for i in range(50)]
    assert all(
        score(MultipleChoice(), samples)['accuracy'] == 0 for _ in range(3))


def circle(i, right_turns, category):
    """A question asked once for each rotation of its options."""
    for turn in range(3):
        choices = CHOICES[turn:] + CHOICES[:turn]
        wanted = choices.index('dog')
        said = wanted if turn in right_turns else (wanted + 1) % 3
        yield sample(i, 'ABC'[said], wanted, choices=choices, rotation=turn,
                     category=category)


def test_a_circle_is_right_if_every_rotation_is():
    samples = [
        *circle(1, {0, 1, 2}, 'logic'),
        *circle(2, {0, 1}, 'logic'),
        *circle(3, {1, 2}, 'scene'),
    ]
    scores = score(MultipleChoice(groups=['category']), samples)
    # First rotations: right for 1 and 2. Whole circles: 1 alone.
    assert scores['accuracy'] == pytest.approx(100 * 2 / 3)
    assert scores['circular'] == pytest.approx(100 / 3)
    assert scores['category_logic'] == 50
    assert scores['category_scene'] == 0


def test_a_circle_with_a_gap_is_refused():
    samples = list(circle(1, {0, 1, 2}, 'x'))[:2]
    with pytest.raises(DatasetError, match='asked 2 times'):
        score(MultipleChoice(), samples)


def test_the_likeliest_option_is_chosen_and_the_first_of_equals():
    scores = score(MultipleChoice(by='likelihood'), [
        sample(1, None, candidate_scores=[-2., -1., -3.]),
        sample(2, '', candidate_scores=[-1., -1., -3.]),
    ])
    assert scores == dict(unclear=0, accuracy=50)


def test_a_head_that_scores_nothing_is_named():
    with pytest.raises(DatasetError, match="by='text'"):
        score(MultipleChoice(by='likelihood'), [sample(1, 'B')])
    with pytest.raises(ConfigError, match='likelihood'):
        MultipleChoice(by='magic')
    with pytest.raises(DatasetError, match='number 7'):
        score(MultipleChoice(), [sample(1, 'B', wanted=7)])
