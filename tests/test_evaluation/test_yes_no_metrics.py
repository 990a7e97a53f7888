# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""POPE, MME and plain yes/no, against scores worked out by hand."""

import pytest

from mmpretrain_minigpt4.errors import DatasetError
from mmpretrain_minigpt4.evaluation import MME, POPE, YesNoAccuracy
from mmpretrain_minigpt4.evaluation.metrics.mme import mme_verdict
from mmpretrain_minigpt4.evaluation.metrics.yes_no import (
    area_under_curve,
    pope_verdict,
)


def score(metric, samples):
    metric.process(None, samples)
    return metric.compute_metrics(metric.results)


# Expected, answer, POPE's own verdict, our verdict.
POPE_ANSWERS = [
    ('yes', 'Yes, there is a snowboard.', 'yes', 'yes'),
    ('yes', 'No, there is none.', 'no', 'no'),
    ('yes', 'There is a dog. It is not big.', 'yes', 'yes'),
    ('yes', 'It is hard to tell.', 'yes', None),
    ('no', 'No', 'no', 'no'),
    ('no', 'There are no cars in the image.', 'no', 'no'),
    ('no', 'Yes', 'yes', 'yes'),
    # A denial that POPE's rule misses: neither No, no nor not is a word.
    ('no', "There isn't a car.", 'yes', 'no'),
]


def test_pope_agrees_with_its_own_script_worked_out_by_hand():
    scores = score(POPE(), [
        dict(question_id=i, gt_answer=wanted, pred_answer=answer)
        for i, (wanted, answer, _, _) in enumerate(POPE_ANSWERS)
    ])
    # By POPE's rule yes is said to 1, 3, 4, 7 and 8: three hits (1, 3, 4),
    # two false alarms (7, 8), one miss (2), two right denials (5, 6).
    assert scores['accuracy'] == pytest.approx(100 * 5 / 8)
    assert scores['precision'] == pytest.approx(100 * 3 / 5)
    assert scores['recall'] == pytest.approx(100 * 3 / 4)
    # 2 * (3/5) * (3/4) / (3/5 + 3/4) = 0.9 / 1.35 = 2/3
    assert scores['f1'] == pytest.approx(100 * 2 / 3)
    assert scores['yes_ratio'] == pytest.approx(100 * 5 / 8)
    # By ours: 1, 3 yes; 2 no; 4 unclear; 5, 6, 8 no; 7 yes.
    assert scores['strict_accuracy'] == pytest.approx(100 * 5 / 8)
    # Precision 2/3, recall 2/4: f1 = 2 * (1/3) / (7/6) = 4/7
    assert scores['strict_f1'] == pytest.approx(100 * 4 / 7)
    assert scores['unclear'] == pytest.approx(100 / 8)


def test_popes_rule_reads_the_first_sentence_alone():
    for _, answer, verdict, _ in POPE_ANSWERS:
        assert pope_verdict(answer) == verdict
    assert pope_verdict('no,yes') == 'yes'  # the comma goes, "noyes" stays
    assert pope_verdict('A man. No dog.') == 'yes'


MME_ANSWERS = [
    # task, image, expected, answer: MME reads four characters.
    ('existence', 'a.jpg', 'yes', 'Yes'),
    ('existence', 'a.jpg', 'no', 'No, it is not.'),
    ('existence', 'b.jpg', 'yes', 'There is one.'),  # other; extracted yes
    ('existence', 'b.jpg', 'no', 'no'),
    ('OCR', 'c.jpg', 'yes', 'yes'),
    ('OCR', 'c.jpg', 'no', 'yes'),
    ('code_reasoning', 'd.png', 'yes', 'Not at all.'),  # "not " holds no
    ('code_reasoning', 'd.png', 'no', 'It is unclear.'),
]


def test_mme_adds_accuracy_and_accuracy_plus():
    scores = score(MME(), [
        dict(question_id=i, task=task, image_id=image, gt_answer=wanted,
             pred_answer=answer)
        for i, (task, image, wanted, answer) in enumerate(MME_ANSWERS)
    ])
    # existence: 3 of 4 right, a.jpg has both: 75 + 50
    assert scores['existence'] == pytest.approx(125)
    # OCR: 1 of 2 right, no image with both: 50 + 0
    assert scores['OCR'] == pytest.approx(50)
    assert scores['code_reasoning'] == 0
    assert scores['perception'] == pytest.approx(175)
    assert scores['cognition'] == 0
    assert scores['total'] == pytest.approx(175)
    # Extracted: existence 4 of 4, both images: 200; OCR 50; code 0.
    assert scores['extracted_perception'] == pytest.approx(250)
    assert scores['extracted_total'] == pytest.approx(250)
    assert scores['unclear'] == pytest.approx(100 / 8)


def test_mme_reads_four_characters():
    assert mme_verdict('YES') == 'yes'
    assert mme_verdict(' yes it is') == 'yes'
    assert mme_verdict('  yes') is None
    assert mme_verdict('I know') is None
    assert mme_verdict('know') == 'no'


def test_mme_refuses_half_an_image():
    with pytest.raises(DatasetError, match='two questions'):
        score(MME(), [
            dict(question_id=1, task='OCR', image_id='a', gt_answer='yes',
                 pred_answer='yes')
        ])


def test_yes_no_gives_groups_and_the_area_under_the_curve():
    samples = [
        dict(question_id=i, gt_answer=wanted, pred_answer=answer,
             relation=relation, candidate_scores=[yes, 0.])
        for i, (wanted, answer, relation, yes) in enumerate([
            ('yes', 'True', 'on', 2.), ('no', 'False', 'on', 1.),
            ('yes', 'No.', 'under', 0.5), ('no', 'A red cat', 'under', 0.)])
    ]
    scores = score(YesNoAccuracy(group='relation'), samples)
    assert scores['accuracy'] == 50
    assert scores['unclear'] == 25
    assert scores['accuracy_on'] == 100
    assert scores['accuracy_under'] == 0
    # Pairs (yes, no) in order: 2>1, 2>0, 0.5<1, 0.5>0: 3 of 4
    assert scores['auroc'] == 75


def test_ties_count_a_half_in_the_area_under_the_curve():
    assert area_under_curve([1, 1], [True, False]) == 0.5
    # positive 2 beats both, positive 1 ties with one and beats the other
    assert area_under_curve([2, 1, 1, 0], [True, True, False, False]) == (
        3.5 / 4)
    assert area_under_curve([1.], [True]) is None
