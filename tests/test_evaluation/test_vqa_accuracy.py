# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Open answers, against the challenge's rule worked out by hand."""

import pytest

from mmpretrain_minigpt4.errors import ConfigError
from mmpretrain_minigpt4.evaluation import VQAAccuracy
from mmpretrain_minigpt4.evaluation.functional.vqa_normalization import (
    CONTRACTIONS,
    normalize,
)
from mmpretrain_minigpt4.evaluation.metrics.vqa_accuracy import (
    direct_accuracy,
    vqa_accuracy,
)


def score(metric, samples):
    metric.process(None, samples)
    return metric.compute_metrics(metric.results)


def test_accuracy_leaves_out_each_person_in_turn():
    people = ['red'] * 3 + ['blue'] * 7
    # The three who said red see 2 others, the seven see 3:
    # (3 * 2/3 + 7 * 1) / 10
    assert vqa_accuracy('red', people) == pytest.approx(0.9)
    # One of ten: the one sees 0 others, nine see 1: 9 * (1/3) / 10
    assert vqa_accuracy('red', ['red'] + ['x'] * 9) == pytest.approx(0.3)
    # Two of ten: 2 * (1/3) + 8 * (2/3), over 10
    assert vqa_accuracy('red', ['red'] * 2 + ['x'] * 8) == pytest.approx(0.6)
    assert vqa_accuracy('red', ['red'] * 10) == 1
    assert vqa_accuracy('green', people) == 0


def test_nothing_is_normalized_where_all_people_agree():
    assert vqa_accuracy('The red.', ['red'] * 10) == 0
    assert vqa_accuracy('The red.', ['red'] * 9 + ['blue']) == 1


def test_texts_are_normalized_as_by_the_challenge():
    table = {
        'The Dog.': 'dog',
        'none': '0',
        'Two dogs': '2 dogs',
        'dont': "don't",
        'couldntve': 'couldntve',
        "couldnt've": "couldn't've",
        "somebody'd": 'somebodyd',
        # a mark that touches a blank is dropped, else it becomes one
        'red,blue': 'red blue',
        'red, blue': 'red blue',
        'red-blue': 'red blue',
        'red - blue': 'red blue',
        # with digits around a comma every mark is dropped
        '1,000/2': '10002',
        # a full stop before a digit stays
        '3.5': '3.5',
        'U.S.A.': 'usa',
        "it's 5 o'clock": "it's 5 o'clock",
        # colons are no mark in version 2
        '5:30': '5:30',
    }
    assert {text: normalize(text) for text in table} == table
    # The scorer drops 32 full stops, and no more.
    assert normalize('.' * 40) == '.' * 8


def test_the_normalization_equals_the_toolboxs_copy_of_the_scorer():
    vqa = pytest.importorskip('mmpretrain.evaluation.metrics.vqa')
    words = [*CONTRACTIONS, *CONTRACTIONS.values()]
    words += [word.replace("'", '') for word in words]
    texts = words + [
        f'{a}{mark}{b}' for mark in ';/[]"{}()=+\\_-><@`,?!.:\''
        for a, b in [('x', 'y'), ('x ', 'y'), ('1', '2'), ('', 'a the b')]
    ]
    for text in texts:
        theirs = vqa._process_digit_article(vqa._process_punctuation(text))
        assert normalize(text) == theirs, text


def test_direct_answers_match_word_for_word():
    people = ['surfing'] * 2 + ['swimming'] * 8
    assert direct_accuracy('surfing', people) == pytest.approx(2 / 3)
    assert direct_accuracy('swimming', people) == 1
    assert direct_accuracy('Surfing', people) == 0


def test_chatty_answers_are_scored_as_they_came_and_as_extracted():
    people = ['red'] * 9 + ['orange']
    scores = score(VQAAccuracy(), [
        dict(question_id=i, question='What color is the car?',
             gt_answer=people, pred_answer=answer)
        for i, answer in enumerate([
            'red', 'The car in the image is red.', 'It is hard to tell '
            'from here.', 'blue'])
    ])
    # red scores (9 * 1 + 1 * 1) / 10 = 1, blue 0
    assert scores['acc'] == 50
    assert scores['raw_acc'] == 25
    assert scores['unclear'] == 25
    assert scores['words'] == pytest.approx((1 + 7 + 7 + 1) / 4)


def test_weights_of_distinct_answers_stand_for_people():
    sample = dict(question_id=1, question='What color?', pred_answer='red',
                  gt_answer=['red', 'blue'], gt_answer_weight=[.3, .7])
    assert score(VQAAccuracy(), [sample])['acc'] == pytest.approx(90)


def test_gqa_wants_the_very_word_and_gives_groups():
    scores = score(VQAAccuracy(rule='exact', group='kind'), [
        dict(question_id=1, question='Is it red?', gt_answer='yes',
             pred_answer='Yes, it is.', kind='verify'),
        dict(question_id=2, question='What is it?', gt_answer='cat',
             pred_answer='cat', kind='query'),
    ])
    assert scores['acc'] == 100
    assert scores['raw_acc'] == 50
    assert scores['acc_query'] == 100


def test_an_unknown_rule_is_named():
    with pytest.raises(ConfigError, match='exact'):
        VQAAccuracy(rule='fuzzy')
