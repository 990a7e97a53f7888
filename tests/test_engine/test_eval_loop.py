# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Answers outlive the run that they were given in."""

import json

import pytest
import torch
from helpers.eval_run import Counting, build
from mmengine.hooks import Hook

from mmpretrain_minigpt4.engine.runners import eval_loop as test_loop
from mmpretrain_minigpt4.errors import ConfigError, DatasetError

SCORES = {'sums/right': 70., 'sums/asked': 10.}


def lines(folder, name='answers.jsonl'):
    return [json.loads(x) for x in (folder / name).read_text().splitlines()]


def broken_off(folder, die_at=7, **kwargs):
    with pytest.raises(KeyboardInterrupt):
        build(folder, model=Counting(die_at=die_at), **kwargs).test()


def test_a_run_that_was_broken_off_asks_only_what_is_left(tmp_path):
    whole = build(tmp_path / 'whole')
    assert whole.test() == SCORES
    broken_off(tmp_path / 'cut')
    rest = build(tmp_path / 'cut')
    assert rest.test() == SCORES
    assert rest.model.asked == [6, 7, 8, 9]
    assert (tmp_path / 'cut' / 'answers.jsonl').read_text().splitlines()[
        1:] == (tmp_path / 'whole' / 'answers.jsonl'
                ).read_text().splitlines()[1:]
    assert [x['index'] for x in lines(tmp_path / 'cut')[1:]] == [*range(10)]


def test_a_torn_last_line_is_asked_again(tmp_path):
    broken_off(tmp_path)
    path = tmp_path / 'answers.jsonl'
    path.write_bytes(path.read_bytes()[:-9])
    rest = build(tmp_path)
    assert rest.test() == SCORES
    assert rest.model.asked == [5, 6, 7, 8, 9]


def test_answers_may_come_in_any_order(tmp_path, monkeypatch):
    build(tmp_path / 'a').test()
    drawn = []

    class Draws(Hook):

        def after_test_iter(self, runner, batch_idx, data_batch, outputs):
            for image, sample in zip(data_batch['inputs'], outputs,
                                     strict=True):
                drawn.append((int(image.flatten()[0]), sample.question_id))

    def backwards(model, batches, max_num_seqs=None):
        yield from reversed([x for b in batches for x in model.test_step(b)])

    monkeypatch.setattr(test_loop, 'generate_samples', backwards)
    assert build(tmp_path / 'b', hooks=[Draws()]).test() == SCORES
    assert lines(tmp_path / 'a')[1:] == lines(tmp_path / 'b')[1:]
    assert drawn == [(i, f'q{i}') for i in reversed(range(10))]


@pytest.mark.parametrize('change, told', [
    (dict(model=Counting(prompt='Sum up.')), "prompt (there 'Add.'"),
    (dict(model=Counting(max_new_tokens=9)), 'decoding.max_new_tokens'),
    (dict(model=Counting(one=2.)), 'weights'),
    (dict(size=12), 'data.samples (there 10, now 12)'),
])
def test_generate_samples_other_settings_are_refused(tmp_path, change, told):
    broken_off(tmp_path)
    before = (tmp_path / 'answers.jsonl').read_bytes()
    with pytest.raises(DatasetError) as error:
        build(tmp_path, **change).test()
    assert told in str(error.value) and '--fresh' in str(error.value)
    assert (tmp_path / 'answers.jsonl').read_bytes() == before
    assert build(tmp_path, fresh=True, **change).test()


def test_a_finished_run_with_a_name_is_scored_again(tmp_path):
    out = str(tmp_path / 'sums.jsonl')
    build(tmp_path, out=out).test()
    again = build(tmp_path, out=out)
    assert again.test() == SCORES and again.model.asked == []
    # Without a name, a call is a new run.
    build(tmp_path).test()
    again = build(tmp_path)
    assert again.test() == SCORES and len(again.model.asked) == 10


def test_a_limited_run_goes_on_to_the_rest(tmp_path):
    out = str(tmp_path / 'sums.jsonl')
    assert build(tmp_path, out=out, limit=4).test()['sums/asked'] == 4
    rest = build(tmp_path, out=out)
    assert rest.test() == SCORES and len(rest.model.asked) == 6


def test_a_broken_image_is_listed_and_refused_past_the_budget(tmp_path):
    with pytest.raises(DatasetError) as error:
        build(tmp_path, broken=[4, 8]).test()
    assert '2 faults' in str(error.value)
    assert 'image 4 is torn' in str(error.value)
    some = build(tmp_path, broken=[4, 8], max_faults=2)
    assert some.test()['sums/asked'] == 8 and some.model.asked == []
    summary = json.loads((tmp_path / 'answers.json').read_text())
    assert [x['index'] for x in summary['failures']] == [4, 8]
    assert summary['samples']['failed'] == 2


def test_a_mended_image_is_asked_for_alone(tmp_path):
    with pytest.raises(DatasetError):
        build(tmp_path, broken=[4]).test()
    mended = build(tmp_path)
    assert mended.test() == SCORES and mended.model.asked == [4]


def test_a_prompt_that_is_too_long_spares_its_batch(tmp_path):
    model = Counting(refuse=[4])
    assert build(tmp_path, model=model, max_faults=1).test() == {
        'sums/right': pytest.approx(600 / 9), 'sums/asked': 9}
    failed, = json.loads((tmp_path / 'answers.json').read_text())['failures']
    assert failed['id'] == 'q4' and 'too long' in failed['reason']


def test_two_runs_do_not_write_one_file(tmp_path):
    first, second = build(tmp_path), build(tmp_path)
    log, _ = first.build_test_loop(first._test_loop)._open_log(0)
    with pytest.raises(DatasetError, match='Another run is writing'):
        second.test()
    log.release()
    assert second.test() == SCORES


def test_a_file_that_holds_no_answers_is_left_alone(tmp_path):
    out = tmp_path / 'mine.jsonl'
    out.write_text('{"my": "data"}\n')
    with pytest.raises(DatasetError, match='no file of answers'):
        build(tmp_path, out=str(out)).test()
    assert out.read_text() == '{"my": "data"}\n'


@pytest.mark.parametrize('line, told', [
    ('{"index": 99}', 'of no question: 1 (99)'),
    ('{"index": 2, "pred_answer": "9"}', 'answered twice: 1 (2)'),
    ('{"index": 2, "pred', 'Line 5'),
])
def test_answers_that_do_not_match_are_refused(tmp_path, line, told):
    broken_off(tmp_path)
    path = tmp_path / 'answers.jsonl'
    head = path.read_text().splitlines()
    path.write_text('\n'.join([*head[:4], line, *head[4:]]) + '\n')
    with pytest.raises(DatasetError) as error:
        build(tmp_path).test()
    assert told in str(error.value)


@pytest.mark.parametrize('loop', [
    dict(limit=0), dict(max_faults=-1), dict(out='answers.json')])
def test_arguments_without_meaning_are_refused(tmp_path, loop):
    with pytest.raises(ConfigError):
        build(tmp_path, **loop).test()


def test_the_summary_says_what_was_asked_how(tmp_path):
    build(tmp_path, model=Counting(max_new_tokens=5)).test()
    summary = json.loads((tmp_path / 'answers.json').read_text())
    assert summary['metrics'] == SCORES
    assert summary['question_template'] == '{question}'
    # Every sample is a question: nothing was asked by the default prompt.
    assert summary['prompt'] is None and summary['seed'] == 3
    assert summary['decoding']['max_new_tokens'] == 5
    assert summary['versions']['torch'] == torch.__version__
    assert summary['answered_in_this_call'] == 10
    assert summary['images_per_second'] > 0 and summary['processes'] == 1
