# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Faults of answers are counted, listed and refused past a budget."""

import json

import pytest

from mmpretrain_minigpt4.errors import ConfigError, DatasetError
from mmpretrain_minigpt4.evaluation import POPE, DumpPredictions, read_answers


def sample(i, answer='yes', wanted='yes'):
    return dict(question_id=i, pred_answer=answer, gt_answer=wanted)


def score(metric, samples):
    metric.process(None, samples)
    return metric.compute_metrics(metric.results)


def test_a_padded_repeat_counts_once():
    scores = score(POPE(), [sample(1), sample(2, 'no'), sample(1)])
    assert scores['accuracy'] == 50


def test_two_answers_to_one_question_are_refused():
    samples = [sample(1), sample(1, 'no'), sample(2), sample(3, None)]
    with pytest.raises(DatasetError, match='2 faults') as error:
        score(POPE(), samples)
    assert 'answered twice: 1 (1)' in str(error.value)
    assert 'no answer: 1 (3)' in str(error.value)
    # With a budget the first answer counts, and question 3 is left out.
    assert score(POPE(max_faults=2), samples)['accuracy'] == 100


def test_nothing_is_not_scored():
    with pytest.raises(DatasetError, match='no answer to score'):
        POPE().compute_metrics([])


def test_a_field_that_the_pipeline_dropped_is_named():
    with pytest.raises(DatasetError, match="'gt_answer'.*PackInputs"):
        POPE().process(None, [dict(question_id=1, pred_answer='yes')])


@pytest.mark.parametrize('text', [
    '{"question_id": 1, "answer": "a"}\n\n{"question_id": 2, "answer": "b"}',
    '[{"question_id": 1, "answer": "a"}, {"question_id": "2", "answer": "b"}]',
    '{"1": "a",\n "2": "b"}',
    '{"1": "a", "2": "b"}',
    '\ufeff{"1": "a", "2": "b"}',
])
def test_answers_are_read_from_each_kind_of_file(tmp_path, text):
    path = tmp_path / 'answers.json'
    path.write_text(text, encoding='utf-8')
    assert read_answers(path, [1, 2]) == {'1': 'a', '2': 'b'}


def test_answers_that_do_not_match_the_questions_are_refused(tmp_path):
    path = tmp_path / 'answers.jsonl'
    lines = [dict(question_id=1, answer='a'), dict(question_id=1, answer='b'),
             dict(question_id=9, answer='c'), dict(question_id=3, text='d')]
    path.write_text('\n'.join(map(json.dumps, lines)))
    with pytest.raises(DatasetError) as error:
        read_answers(path, [1, 2])
    for part in ('4 faults', 'answered twice: 1 (1)', 'of no question: 1 (9)',
                 'not answered: 1 (2)', "without 'question_id' or 'answer'"):
        assert part in str(error.value)
    assert read_answers(path, [1, 2], max_faults=4) == {'1': 'a'}


def test_unreadable_answers_are_named(tmp_path):
    path = tmp_path / 'answers.jsonl'
    with pytest.raises(DatasetError, match='no answers file'):
        read_answers(path, [])
    for text in (b'{"question_id": 1, ', b'[1, 2]', b'yes', b'5', b'null',
                 b'\xff\xfe', b'[' * 100_000):
        path.write_bytes(text)
        with pytest.raises(DatasetError, match='answers.jsonl'):
            read_answers(path, [1])


def test_a_line_cut_short_is_named(tmp_path):
    path = tmp_path / 'answers.jsonl'
    path.write_text('{"question_id": 1, "answer": "a"}\n{"question_id": 2, ')
    with pytest.raises(DatasetError, match='JSON lines: line 2: '):
        read_answers(path, [1, 2])


def test_an_answer_may_hold_any_line_separator(tmp_path):
    path = tmp_path / 'answers.jsonl'
    path.write_text('{"question_id": 1, "answer": "a\u2028b"}\n'
                    '{"question_id": 2, "answer": "c\x85d"}\n',
                    encoding='utf-8')
    assert read_answers(path, [1, 2]) == {'1': 'a\u2028b', '2': 'c\x85d'}


def test_answers_are_saved_for_scorers_elsewhere(tmp_path):
    path = tmp_path / 'new' / 'answers.json'
    samples = [dict(question_id='v1_0', question='What is it?',
                    pred_answer='It is a cat.')]
    assert score(DumpPredictions(str(path)), samples) == dict(saved=1, words=4)
    assert json.loads(path.read_text()) == {'v1_0': 'It is a cat.'}
    score(DumpPredictions(str(path), form='list', phrases=True), samples)
    assert json.loads(path.read_text()) == [
        dict(question_id='v1_0', answer='cat')
    ]
    score(DumpPredictions(str(path), form='tsv'), [
        dict(question_id=7, question='Q?', choices=['x', 'y'], rotation=0,
             pred_answer='B'),
        dict(question_id=7, question='Q?', choices=['y', 'x'], rotation=1,
             pred_answer='A'),
        dict(question_id=8, question='R?', choices=['x', 'y', 'z'],
             rotation=0, pred_answer='Hm.'),
    ])
    assert path.read_text().splitlines() == [
        'index\tquestion\tA\tB\tC\tprediction', '7\tQ?\tx\ty\t\tB',
        '8\tR?\tx\ty\tz\t'
    ]
    with pytest.raises(ConfigError, match='tsv'):
        DumpPredictions('x', form='xlsx')
    with pytest.raises(ConfigError, match='it is a folder'):
        DumpPredictions(str(path.parent))
