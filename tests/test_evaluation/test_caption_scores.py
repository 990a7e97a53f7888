# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The caption scores that need neither Java nor a download."""

import json

import pytest

from mmpretrain_minigpt4.errors import DatasetError
from mmpretrain_minigpt4.evaluation import CaptionScores
from mmpretrain_minigpt4.evaluation.caption_scores import words

pytest.importorskip('pycocoevalcap')


@pytest.fixture
def metric(tmp_path):
    captions = {1: ['A red cat.', 'one cat, red'], 2: ['Two dogs run.']}
    annotations = [
        dict(image_id=image, caption=caption)
        for image, texts in captions.items() for caption in texts
    ]
    path = tmp_path / 'gt.json'
    path.write_text(json.dumps(dict(annotations=annotations)))
    return CaptionScores(str(path))


def score(metric, answers):
    metric.process(None, [
        dict(image_id=image, pred_caption=text)
        for image, text in answers.items()
    ])
    return metric.evaluate(len(answers))


def test_the_references_themselves_score_one(metric):
    scores = score(metric, {'0001': 'a red cat', '2': 'two dogs run'})
    assert scores['COCO/Bleu_1'] == pytest.approx(1, abs=1e-6)
    assert scores['COCO/ROUGE_L'] == pytest.approx(1, abs=1e-6)
    assert scores['COCO/CIDEr'] > 1


def test_other_words_score_nothing(metric):
    scores = score(metric, {'1': 'blue', '2': ''})
    assert scores['COCO/Bleu_4'] < 1e-3
    assert scores['COCO/CIDEr'] == 0


def test_an_image_of_another_split_is_named(metric):
    with pytest.raises(DatasetError, match='77'):
        score(metric, {'77': 'a cat'})


def test_words_are_found_without_punctuation_or_case():
    assert words("A dog's ball, RED-ish!") == "a dog's ball red ish"
