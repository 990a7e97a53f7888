# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Decoding options: what is taken, what is refused."""

import math

import pytest

from mmpretrain_minigpt4.errors import GenerationError
from mmpretrain_minigpt4.generation import CHAT_OPTIONS, SamplingParams


def test_the_defaults_are_greedy():
    options = SamplingParams()
    assert not options.do_sample
    assert (options.num_beams, options.repetition_penalty) == (1, 1.0)


def test_the_original_demo_decodes_as_published():
    options = SamplingParams.from_dict(CHAT_OPTIONS)
    assert (options.max_new_tokens, options.top_p, options.temperature,
            options.repetition_penalty) == (300, 0.9, 1.0, 1.05)
    assert options.do_sample


def test_a_call_overrides_the_config():
    options = SamplingParams.from_dict(
        dict(max_new_tokens=5, top_k=3), None, dict(max_new_tokens=7))
    assert (options.max_new_tokens, options.top_k) == (7, 3)


def test_temperature_zero_is_greedy():
    assert not SamplingParams(temperature=0, do_sample=True).do_sample


@pytest.mark.parametrize('key, value', [
    ('temperature', -1), ('temperature', math.nan), ('temperature', math.inf),
    ('temperature', 1e9), ('temperature', '1'), ('temperature', True),
    ('top_p', 0), ('top_p', 2), ('top_p', math.nan), ('top_k', -1),
    ('max_new_tokens', 0), ('max_new_tokens', -1), ('max_new_tokens', 1.5),
    ('max_new_tokens', '9'), ('max_new_tokens', None), ('num_beams', 0),
    ('num_beams', 10**9), ('repetition_penalty', 0),
    ('repetition_penalty', math.nan), ('repetition_penalty', [1]),
    ('length_penalty', math.inf), ('no_repeat_ngram_size', -1),
    ('do_sample', 'yes'), ('seed', 'x'), ('seed', math.nan), ('stops', 5),
    ('stops', ['']), ('stops', [5]), ('stops', ['\ud800']),
    ('stops', ['x' * 1000]), ('stops', ['x'] * 10_000)
])
def test_a_value_without_meaning_is_refused_by_name(key, value):
    name = 'stop' if key == 'stops' else key
    with pytest.raises(GenerationError, match=name):
        SamplingParams(**{key: value})


@pytest.mark.parametrize('value', [32768, 10**12, 1e12])
def test_many_tokens_are_taken_and_bound_by_the_context(value):
    assert SamplingParams(max_new_tokens=value).max_new_tokens == value


@pytest.mark.parametrize('seed', [-1, 10**40, 2**63])
def test_any_whole_number_is_a_seed(seed):
    assert 0 <= SamplingParams(seed=seed).seed < 2**63


def test_an_unknown_option_names_its_neighbour():
    with pytest.raises(GenerationError, match="mean 'temperature'"):
        SamplingParams.from_dict(dict(temprature=1))


def test_a_single_stop_text_is_a_list_of_one():
    assert SamplingParams(stops='END').stops == ('END', )


def test_options_survive_a_round_trip():
    options = SamplingParams(stops=('a', ), seed=3, num_beams=2)
    assert SamplingParams(**options.to_dict()) == options
