# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""What a harness's task says, in this package's words."""

import pytest

from mmpretrain_minigpt4.errors import ConfigError, GenerationError
from mmpretrain_minigpt4.harnesses.requests import (
    batches,
    decoding,
    flatten,
    place_images,
    whole_number,
)
from mmpretrain_minigpt4.prompts import ImageSlot


def test_tasks_that_decode_greedily_may_set_any_sampling_value():
    assert decoding(dict(
        max_new_tokens=16, temperature=0, top_p=0, num_beams=1,
        do_sample=False)) == dict(
            max_new_tokens=16, num_beams=1, do_sample=False)
    assert decoding({}) == dict(do_sample=False)


def test_a_temperature_means_sampling_unless_the_task_says_otherwise():
    assert decoding(dict(temperature=0.7, top_p=None)) == dict(
        temperature=0.7, do_sample=True)
    assert decoding(dict(temperature=0.7, do_sample=False)) == dict(
        do_sample=False)


def test_stop_texts_and_lengths_go_by_lmms_evals_names():
    assert decoding(dict(until='\n\n', max_gen_toks=32768)) == dict(
        stops=('\n\n', ), max_new_tokens=32768, do_sample=False)
    assert decoding(dict(until=['', 'ASSISTANT:']))['stops'] == (
        'ASSISTANT:', )


def test_a_setting_without_meaning_here_is_left_out_with_a_warning():
    with pytest.warns(UserWarning, match='not used: image_aspect_ratio'):
        assert decoding(dict(image_aspect_ratio='pad')) == dict(
            do_sample=False)


def test_a_value_without_meaning_is_refused():
    with pytest.raises(GenerationError, match='max_new_tokens'):
        decoding(dict(max_new_tokens=-1))


def test_the_tasks_settings_stay_as_they_are():
    settings = dict(until=['a'], temperature=0)
    decoding(settings)
    assert settings == dict(until=['a'], temperature=0)


def test_images_stand_where_the_task_marks_them():
    assert place_images('a <image> b <image>', 2) == [
        'a <Img>', ImageSlot(), '</Img>', ' b <Img>', ImageSlot(), '</Img>',
        '']


@pytest.mark.parametrize('text, number', [('no mark', 1), ('<image>', 0),
                                          ('a <image>', 2)])
def test_marks_that_are_no_places_are_literal_text(text, number):
    assert place_images(text, number) == text


def test_visuals_may_be_nested_single_or_absent():
    assert flatten([['a', ['b']], 'c']) == ['a', 'b', 'c']
    assert flatten('a') == ['a']
    assert flatten(None) == []


def test_only_what_is_decoded_alike_is_answered_at_once():
    assert batches('aabab', 2) == [[0, 1], [3], [2, 4]]


@pytest.mark.parametrize('value', ['auto', 0, '0', None, '1.5'])
def test_a_batch_size_is_a_whole_number(value):
    with pytest.raises(ConfigError, match='batch_size'):
        whole_number(value, 'batch_size')
