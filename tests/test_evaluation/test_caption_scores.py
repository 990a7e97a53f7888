# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The caption scores that need neither Java nor a download."""

import json

import pytest

from mmpretrain_minigpt4.errors import ConfigError, DatasetError
from mmpretrain_minigpt4.evaluation import CaptionScores
from mmpretrain_minigpt4.evaluation.metrics import caption_scores as module
from mmpretrain_minigpt4.evaluation.metrics.caption_scores import (
    score_captions,
    tokenize,
    words,
)

pytest.importorskip('pycocoevalcap')

CAPTIONS = {1: ['A red cat.', 'one cat, red'], 2: ['Two dogs run.']}


@pytest.fixture
def metric(tmp_path):
    annotations = [
        dict(image_id=image, caption=caption)
        for image, texts in CAPTIONS.items() for caption in texts
    ]
    path = tmp_path / 'gt.json'
    path.write_text(json.dumps(dict(annotations=annotations)))
    return CaptionScores(str(path), tokenizer='words')


def score(metric, answers, **more):
    metric.process(None, [
        dict(image_id=image, pred_caption=text, **more)
        for image, text in answers.items()
    ])
    return metric.evaluate(len(answers))


def test_the_references_themselves_score_one(metric):
    scores = score(metric, {'0001': 'a red cat', '2': 'two dogs run'})
    assert scores['COCO/Bleu_1'] == pytest.approx(1, abs=1e-6)
    assert scores['COCO/ROUGE_L'] == pytest.approx(1, abs=1e-6)
    assert scores['COCO/CIDEr'] > 1
    assert scores['COCO/words'] == 3
    assert scores['COCO/ptb_tokenizer'] == 0


def test_other_words_score_nothing(metric):
    scores = score(metric, {'1': 'blue', '2': ''})
    assert scores['COCO/Bleu_4'] < 1e-3
    assert scores['COCO/CIDEr'] == 0


def test_scores_worked_out_by_hand():
    answers = {'1': ['a red cat sleeps'], '2': ['two dogs']}
    references = {'1': ['a red cat'], '2': ['two dogs run fast']}
    scores = score_captions(answers, references, ('BLEU', 'ROUGE_L'))
    # BLEU-1: 3 + 2 of 4 + 2 words match; 6 words against 7 in the
    # references: brevity penalty exp(1 - 7/6).
    assert scores['Bleu_1'] == pytest.approx(
        5 / 6 * 2.718281828**(1 - 7 / 6), rel=1e-5)
    # ROUGE-L, beta 1.2, b = 1.44: image 1 has p = 3/4, r = 1, so
    # 2.44 * p * r / (r + 1.44 * p) = 1.83 / 2.08; image 2 has p = 1,
    # r = 1/2: 2.44 * 0.5 / (0.5 + 1.44).
    assert scores['ROUGE_L'] == pytest.approx(
        (1.83 / 2.08 + 1.22 / 1.94) / 2)


def test_an_image_of_another_split_is_named(metric):
    with pytest.raises(DatasetError, match='77'):
        score(metric, {'77': 'a cat'})


def test_an_image_with_two_captions_is_refused(metric):
    with pytest.raises(DatasetError, match='two different captions'):
        score(metric, {'1': 'a cat', '01': 'a dog'})


def test_words_are_found_without_punctuation_or_case():
    assert words("A dog's ball, RED-ish!") == "a dog's ball red ish"


def test_references_may_come_with_the_samples_and_in_groups():
    metric = CaptionScores(tokenizer='words', group='domain',
                           scorers=['CIDEr'])
    metric.process(None, [
        dict(image_id=i, pred_caption=text, gt_caption=list(texts),
             domain='in' if i == 1 else 'out')
        for (i, texts), text in zip(
            CAPTIONS.items(), ['a red cat', 'nothing here'], strict=True)
    ])
    scores = metric.evaluate(2)
    assert scores['COCO/CIDEr'] > 0
    assert scores['COCO/CIDEr_out'] == 0
    assert 'COCO/CIDEr_in' in scores


def test_without_java_the_scores_say_so(monkeypatch, metric):
    monkeypatch.setattr(module, 'has_java', lambda: False)
    captions, ptb = tokenize({'1': ['A cat.']}, how='auto')
    assert captions == [{'1': ['a cat']}] and not ptb
    with pytest.raises(ConfigError, match='Install Java'):
        tokenize({'1': ['A cat.']}, how='ptb')
    scores = score_captions({'1': ['a']}, {'1': ['a']},
                            ('METEOR', 'SPICE', 'ROUGE_L'))
    assert list(scores) == ['ROUGE_L']


@pytest.mark.slow
@pytest.mark.skipif(not module.has_java(), reason='needs Java')
def test_with_java_captions_are_cut_as_for_published_scores():
    captions, ptb = tokenize(
        {'1': ["A dog's ball, RED-ish!\nTwo.", ''], '2': ['x']})
    assert ptb
    assert captions[0]['2'] == ['x']
    assert captions[0]['1'] == ["a dog 's ball red-ish two", '']
