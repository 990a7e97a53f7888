# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""What an evaluation leaves behind can be trusted and looked at."""

import json
from html import unescape

import pytest
import torch
from mmpretrain.structures import DataSample
from PIL import Image
from torch import nn

from mmpretrain_minigpt4.benchmarks import find_benchmark
from mmpretrain_minigpt4.errors import ConfigError
from mmpretrain_minigpt4.evaluation.runs import (
    fingerprint,
    to_record,
    write_json,
    write_report,
)
from mmpretrain_minigpt4.evaluation.runs.fingerprint import differences


def test_the_fingerprint_sees_every_number_name_and_type():
    model = nn.Linear(3, 2)
    first = fingerprint(model)
    assert fingerprint(model) == first and len(first) == 16
    with torch.no_grad():
        model.weight[1, 2] += 1e-6 * model.weight[1, 2].abs().clamp(min=1)
    second = fingerprint(model)
    assert second != first
    assert fingerprint(model.double()) != second
    assert fingerprint(nn.Sequential(model)) != fingerprint(model)
    # One number of type bfloat16, without dimensions.
    scalar = nn.ParameterDict(dict(a=torch.tensor(1., dtype=torch.bfloat16)))
    assert fingerprint(scalar) != fingerprint(nn.ParameterDict(
        dict(a=torch.tensor(2., dtype=torch.bfloat16))))


def test_a_sample_is_kept_as_plain_data_in_one_order():
    sample = DataSample(question_id=7, sample_index=3, img_shape=(2, 2))
    sample.set_field('yes\ud83d', 'pred_answer', dtype=None)
    sample.set_field(torch.tensor([[1., 2.]]), 'boxes', dtype=None)
    sample.set_field('What?', 'question', dtype=None)
    record = to_record(sample)
    assert list(record) == ['index', 'question', 'question_id', 'boxes',
                            'pred_answer']
    assert record['index'] == 3 and record['boxes'] == [[1., 2.]]
    assert json.loads(json.dumps(record)) == record
    sample.set_field(object(), 'odd', dtype=None)
    with pytest.raises(ConfigError, match="field 'odd'"):
        to_record(sample)


def test_what_differs_is_told_with_both_values():
    ours = dict(prompt='a', decoding=dict(n=1, m=2), model='x')
    assert differences(ours, dict(ours)) == []
    assert differences(ours, dict(ours, decoding=dict(n=3, m=2), model='y')
                       ) == ['decoding.n (there 3, now 1)']
    assert differences(ours, dict(ours, model='y')) == [
        "model (there 'y', now 'x')"]


def report(tmp_path, records, found, **kwargs):
    summary = dict(benchmark='a <b>', metrics={'x/acc': 50.}, failures=[
        dict(id=9, reason='<i>torn')], decoding=dict(top_p=1.), seed=None)
    path = tmp_path / 'report.html'
    write_report(path, summary, records, found,
                 lambda i: dict(img=Image.new('RGB', (400, 100), 'red')),
                 **kwargs)
    return path.read_text()


def test_the_report_shows_text_as_text_and_loads_nothing(tmp_path):
    evil = '<script src="http://x/y.js"></script>&\x00\u202e'
    html = report(tmp_path, [
        dict(index=0, question_id=1, question=evil, pred_answer=evil,
             gt_answer=['yes', 'yes', 'no']),
        dict(index=1, question_id=2, question='B?', pred_answer='hm',
             gt_answer=1, choices=['one', 'two']),
        dict(index=2, question_id=3, failed='torn'),
    ], {
        ('question_id', '1', None): dict(right=True, extracted='yes',
                                         kind='k<1>'),
        ('question_id', '2', None): dict(right=False, extracted=None),
    })
    assert '<script src' not in html and html.count('<script>') == 1
    assert evil[:20] in unescape(html) and '&lt;b&gt;' in html
    assert 'http' not in html.replace('http://x/y.js', '').replace(
        'http-equiv', '')
    assert "default-src 'none'" in html
    assert 'class="card right"' in html and 'class="card unread"' in html
    assert 'k&lt;1&gt;: 1 of 1 right' in html and 'all: 0 of 1' in html
    assert 'expected: B. two' in html and 'expected: yes\nno' in html
    assert '&lt;i&gt;torn' in html and '2 of 3 samples' in html
    assert html.count('data:image/jpeg;base64,') == 2


def test_a_large_report_shows_samples_from_all_over(tmp_path):
    html = report(tmp_path, [
        dict(index=i, image_id=i, pred_caption=f'word{i}.')
        for i in range(100)], {}, shown=4)
    assert [i for i in range(100) if f'word{i}.' in html] == [0, 25, 50, 75]
    assert '4 of 100 samples are shown, evenly spread.' in html


def test_a_score_that_is_no_number_becomes_null(tmp_path):
    write_json(tmp_path / 'a.json', dict(a=float('nan'), b=(1., '\ud83d')))
    content = json.loads((tmp_path / 'a.json').read_text())
    assert content['a'] is None and content['b'][0] == 1.


def test_a_config_tells_what_it_is_without_being_run():
    found = find_benchmark('pope_random')
    assert found.title.startswith('POPE, random negatives')
    assert found.notes['Samples'] == '3,000 questions on 500 images.'
    assert found.task == 'answer' and found.metrics == ('POPE', )
    assert 'data/pope/coco_pope_random.json' in found.notes['Layout']
