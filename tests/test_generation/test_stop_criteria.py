# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Stop texts, found in whatever tokens spell them."""

import pytest

from mmpretrain_minigpt4.generation import IncrementalDetokenizer, StopChecker

# Token ids 0 to 9; 0 is the end token.
TABLE = [
    b'', b' ###', b'##', b'#', b' red', b' blue', b'.##', b'# ', b'\xf0\x9f',
    b'\x98\x80'
]
ONE, TWO, SHARP, RED, BLUE = 1, 2, 3, 4, 5
FACE = '\U0001f600'


@pytest.fixture
def stop_checker():
    return StopChecker(TABLE, ['###'], end_ids=[0])


@pytest.mark.parametrize('ending', [[ONE], [TWO, SHARP], [SHARP, TWO],
                                    [SHARP] * 3, [6, SHARP], [TWO, 7]])
def test_every_spelling_stops_and_none_is_printed(stop_checker, ending):
    answer = stop_checker.answer([RED, BLUE, *ending, RED])
    assert answer.text == ('red blue.' if 6 in ending else 'red blue')
    assert answer.finish == 'stop'
    assert answer.token_ids == [RED, BLUE, *ending]
    assert stop_checker.ends([RED, BLUE, *ending])
    assert not stop_checker.ends([RED, BLUE, *ending[:-1]])


def test_the_end_token_stops(stop_checker):
    answer = stop_checker.answer([RED, 0, 0, 0])
    assert answer[:3] == ([RED, 0], 'red', 'stop')


def test_half_a_stop_text_at_the_length_limit_is_not_printed(stop_checker):
    assert stop_checker.answer([RED, TWO])[:3] == ([RED, TWO], 'red', 'length')
    assert stop_checker.answer([RED, TWO, SHARP], limit=2).text == 'red'


def test_half_a_stop_text_before_the_end_token_is_meant(stop_checker):
    assert stop_checker.answer([RED, SHARP, 0]).text == 'red#'


def test_several_stop_texts_end_at_the_first():
    stop_checker = StopChecker(TABLE, ['###', ' blue', 'd b'])
    assert stop_checker.answer([RED, BLUE, ONE]).text == 're'


def test_padding_and_unknown_ids_stand_for_nothing(stop_checker):
    assert stop_checker.answer([RED, 99, -1]).text == 'red'
    assert stop_checker.answer([])[:3] == ([], '', 'length')


def test_without_stop_texts_only_the_end_token_stops():
    stop_checker = StopChecker(TABLE, [], [0])
    assert stop_checker.answer([ONE, RED, 0]).text == '### red'


@pytest.mark.parametrize('tokens', [
    [RED, ONE], [RED, TWO, SHARP], [RED, SHARP, RED, 0], [RED, SHARP, 0],
    [RED, TWO], [8, 9, ONE], [8, 9], [8], [RED, 8, 0], [ONE], [0], [],
    [7, RED, 7, SHARP, TWO]
])
def test_a_stream_gives_what_the_whole_answer_gives(stop_checker, tokens):
    stream = IncrementalDetokenizer(stop_checker)
    parts = [stream.push(token) for token in tokens]
    parts.append(stream.finish())
    assert ''.join(parts) == stop_checker.answer(tokens).text
    # What was given is never taken back, and never part of a stop text.
    assert '##' not in ''.join(parts)


def test_a_stream_never_splits_a_character(stop_checker):
    stream = IncrementalDetokenizer(stop_checker)
    assert stream.push(8) == ''
    assert stream.push(9) == FACE


def test_a_stream_holds_back_what_may_be_a_stop_text(stop_checker):
    stream = IncrementalDetokenizer(stop_checker)
    assert stream.push(RED) == 'red'
    assert stream.push(TWO) == ''
    assert stream.push(RED) == '## red'
    assert stream.push(ONE) == ''
    assert stream.done
    assert stream.push(RED) == ''
