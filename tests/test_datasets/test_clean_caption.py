# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
import pytest
from mmengine.registry import TRANSFORMS

from mmpretrain_minigpt4.datasets.transforms.clean_caption import (
    clean_caption,
)
from mmpretrain_minigpt4.errors import ConfigError, DatasetError


@pytest.mark.parametrize('text, clean', [
    # Each worked out by hand from the original's rules.
    ('A Dog.', 'a dog'),
    ('"Wow!" (photo) #1; see: 50* ~now', 'wow photo 1 see 50 now'),
    ("it's red, well-lit - isn't it?", "it's red, well-lit - isn't it?"),
    ('  many   blanks \n', 'many blanks'),
    ('a.b', 'a b'),
    ('ÄPFEL: süß', 'äpfel süß'),
    ('two\nlines\tand tab', 'two lines and tab'),
    ('$5 & 10% [x] <b> @me', '$5 & 10% [x] <b> @me'),
])
def test_captions_are_cleaned_as_in_the_original(text, clean):
    assert clean_caption(text) == clean


def test_at_most_fifty_words_are_kept():
    text = ' '.join(f'W{i}.' for i in range(60))
    assert clean_caption(text) == ' '.join(f'w{i}' for i in range(50))
    assert clean_caption('a b c', max_words=2) == 'a b'


def test_ten_thousand_words_are_no_matter():
    assert len(clean_caption('word ' * 10_000).split()) == 50


def test_the_transform_cleans_a_sample_and_refuses_an_empty_one():
    clean = TRANSFORMS.build(dict(type='mmpretrain_minigpt4.CleanCaption'))
    assert clean(dict(gt_caption='A.', prompt='B.')) == dict(
        gt_caption='a', prompt='B.')
    with pytest.raises(DatasetError, match='Nothing is left'):
        clean(dict(gt_caption='...!'))


def test_no_words_at_all_make_no_sense():
    with pytest.raises(ConfigError, match='max_words'):
        TRANSFORMS.build(
            dict(type='mmpretrain_minigpt4.CleanCaption', max_words=0))
