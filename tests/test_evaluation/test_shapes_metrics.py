# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
import pytest

from mmpretrain_minigpt4.evaluation import ShapesDescription, ShapesQuestions

SAMPLES = [
    dict(  # all right
        pred_caption='The image shows one shape. A large red ring is in the '
        'top left. The background is gray.',
        objects=[('red', 'ring', 'large', 'top left')],
        background='gray'),
    dict(  # wrong size; a cross that is not there; a circle not named
        pred_caption='The image shows two shapes. A small blue square is in '
        'the top left. A small red cross is in the top right. The '
        'background is white.',
        objects=[('blue', 'square', 'large', 'top left'),
                 ('red', 'circle', 'small', 'top right')],
        background='white'),
    dict(  # broken off
        pred_caption='The image shows two',
        objects=[('green', 'cross', 'large', 'top left')],
        background='black'),
]


def test_description_scores_equal_those_counted_by_hand():
    metric = ShapesDescription()
    metric.process(None, SAMPLES)
    scores = metric.evaluate(len(SAMPLES))
    # pairs: right 1 + 1 + 0, named 1 + 2 + 0, there 1 + 2 + 1
    assert scores['shapes/objects_f1'] == pytest.approx(100 * 4 / 7)
    # with size and place: right 1 + 0 + 0
    assert scores['shapes/full_f1'] == pytest.approx(100 * 2 / 7)
    assert scores['shapes/background'] == pytest.approx(200 / 3)
    assert scores['shapes/hallucinated'] == pytest.approx(100 / 3)
    assert scores['shapes/failed'] == pytest.approx(100 / 3)
    assert scores['shapes/perfect'] == pytest.approx(100 / 3)
    assert scores['shapes/words'] == pytest.approx((18 + 27 + 4) / 3)


def test_an_object_named_twice_counts_once():
    metric = ShapesDescription()
    metric.process(None, [
        dict(
            pred_caption='A red ring is here. Another red ring is there.',
            objects=[('red', 'ring', 'large', 'top left')],
            background='gray')
    ])
    assert metric.evaluate(1)['shapes/objects_f1'] == pytest.approx(200 / 3)


def test_question_scores_equal_those_counted_by_hand():
    metric = ShapesQuestions()
    rows = [('What color is the ring?', 'Red.', 'red'),
            ('What color is the cross?', 'Red.', 'Blue.'),
            ('Is there a red ring?', 'Yes.', 'yes. '),
            ('How many shapes are there?', 'Two.', 'Two shapes.')]
    metric.process(None, [
        dict(question=q, gt_answer=gt, pred_answer=pred)
        for q, gt, pred in rows
    ])
    assert metric.evaluate(4) == {
        'shapes/accuracy': 50., 'shapes/color': 50.,
        'shapes/is_there': 100., 'shapes/how_many': 0.}
