# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Hallucinated objects, counted by hand on made captions."""

import json

import pytest

from mmpretrain_minigpt4.errors import DatasetError
from mmpretrain_minigpt4.evaluation import CHAIR
from mmpretrain_minigpt4.evaluation.functional.coco_objects import (
    SYNONYMS,
    ObjectWords,
)


@pytest.fixture
def files(tmp_path):
    instances = dict(
        images=[dict(id=1), dict(id=2), dict(id=3)],
        categories=[dict(id=1, name='person'), dict(id=18, name='dog'),
                    dict(id=63, name='couch')],
        annotations=[
            dict(image_id=1, category_id=1),
            dict(image_id=1, category_id=18),
            dict(image_id=2, category_id=63),
        ])
    captions = dict(annotations=[
        dict(image_id=1, caption='A man throws a frisbee to a dog.'),
        dict(image_id=2, caption='An empty sofa.'),
        dict(image_id=9, caption='Two trains.'),
    ])
    paths = tmp_path / 'instances.json', tmp_path / 'captions.json'
    for path, content in zip(paths, (instances, captions), strict=True):
        path.write_text(json.dumps(content))
    return [str(path) for path in paths]


ANSWERS = {
    # man, puppy, frisbee, ball: the ball is not there (3 of 4 true)
    '000000000001': 'A man and his puppy play frisbee with a ball.',
    # sofa, cat, cat: both cats are not there
    '2': 'A sofa with two cats. The cats sleep.',
    # nothing of COCO's is named
    '3': 'An abstract painting of a landscape.',
}


def score(metric, answers=ANSWERS):
    metric.process(None, [
        dict(image_id=image, pred_caption=text)
        for image, text in answers.items()
    ])
    return metric.compute_metrics(metric.results)


def test_sentences_and_mentions_are_counted(files):
    scores = score(CHAIR(*files))
    assert scores['CHAIR_s'] == pytest.approx(100 * 2 / 3)
    # 1 + 2 of 4 + 3 mentions
    assert scores['CHAIR_i'] == pytest.approx(100 * 3 / 7)
    # Image 1 has person, dog, frisbee, image 2 couch: all are named.
    assert scores['recall'] == 100
    assert scores['words'] == pytest.approx((10 + 8 + 6) / 3)


def test_without_captions_more_counts_as_hallucinated(files):
    scores = score(CHAIR(files[0]))
    assert scores['CHAIR_i'] == pytest.approx(100 * 4 / 7)


def test_words_lead_to_categories():
    find = ObjectWords().find
    table = {
        'Men with hot dogs and a dog.': ['person', 'hot dog', 'dog'],
        'A baby elephant': ['elephant'],
        'a baby in a car seat': ['person', 'car'],
        'Knives, buses and wine glasses': ['knife', 'bus', 'wine glass'],
        'the seat of the toilet': ['toilet'],
        'a train track beside a train': ['train'],
        'a passenger train and a passenger': ['train', 'person'],
        'teddy bears': ['teddy bear'],
        'a motor bike near traffic lights': ['motorcycle', 'traffic light'],
        'two men on skis': ['person', 'skis'],
        'a bow tie': ['tie'],
        'geese and sheep': ['bird', 'sheep'],
        'a laptop computer': ['laptop'],
        'carpets and scarves': [],
        '': [],
    }
    assert {k: [name for _, name in find(k)] for k in table} == table


def test_every_category_is_found_by_its_own_name():
    assert len(SYNONYMS) == 80
    words = ObjectWords()
    for name in SYNONYMS:
        assert [found for _, found in words.find(f'a {name}.')] == [name]


def test_another_table_of_synonyms_can_be_handed_in(tmp_path):
    path = tmp_path / 'synonyms.txt'
    lines = [name + (', wooflet' if name == 'dog' else '')
             for name in SYNONYMS]
    path.write_text('\n'.join(lines))
    words = ObjectWords(str(path))
    assert words.find('a wooflet and a puppy') == [('wooflet', 'dog')]
    path.write_text('dog, puppy')
    with pytest.raises(DatasetError, match='79 categories'):
        ObjectWords(str(path))
    with pytest.raises(DatasetError, match='There is no table'):
        ObjectWords(str(tmp_path / 'no.txt'))


def test_missing_files_and_images_of_another_split_are_named(files):
    with pytest.raises(DatasetError, match='annotations_trainval2014.zip'):
        CHAIR('nowhere/instances_val2014.json')
    with pytest.raises(DatasetError, match='77'):
        score(CHAIR(*files), {'77': 'A dog.'})
