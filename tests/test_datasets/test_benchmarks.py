# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Benchmarks are read from their own files, and faults are refused."""

import json
import os
import shutil

import pytest
from helpers import benchmark_files

from mmpretrain_minigpt4.datasets import benchmarks
from mmpretrain_minigpt4.errors import DatasetError


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def pope(**more):
    return benchmarks.POPEQuestions(
        data_root='data', ann_file='pope/coco_pope_random.json',
        data_prefix='coco/val2014', **more)


def mmbench(**more):
    return benchmarks.MMBench(
        data_root='data/mmbench', ann_file='mmbench_dev_20230712.tsv',
        **more)


def test_a_question_has_what_the_metric_reads():
    benchmark_files.pope('random')()
    item = pope(expected=3)[0]
    assert item['question'] == 'Is there a dog in the image?'
    assert item['gt_answer'] == 'yes'
    assert os.path.isfile(item['img_path'])


def test_a_missing_file_says_what_to_download_and_where_it_belongs():
    with pytest.raises(DatasetError) as error:
        pope()
    for part in ('data/pope/coco_pope_random.json', 'github.com/RUCAIBox',
                 "data_root='data'"):
        assert part in str(error.value)
    with pytest.raises(DatasetError, match='existence'):
        benchmarks.MMEQuestions(data_root='data/mme')


def test_every_reader_names_its_missing_files():
    for name in benchmarks.__all__:
        more = {}
        if name == 'VQAQuestions':
            more = dict(question_file='q.json')
        with pytest.raises(DatasetError, match='Download: .*'):
            getattr(benchmarks, name)(
                data_root='nowhere', ann_file='a.json', data_prefix='b',
                **more)


def test_another_file_under_the_right_name_is_refused():
    benchmark_files.seed_bench()
    benchmark_files.put('seed-bench/SEED-Bench.json', dict(items=[]))
    with pytest.raises(DatasetError, match="no 'questions'"):
        benchmarks.SEEDBench(data_root='data/seed-bench',
                             ann_file='SEED-Bench.json')
    benchmark_files.put('seed-bench/SEED-Bench.json', '{"cut off')
    with pytest.raises(DatasetError, match='is not JSON'):
        benchmarks.SEEDBench(data_root='data/seed-bench',
                             ann_file='SEED-Bench.json')
    benchmark_files.put('mmbench/mmbench_dev_20230712.tsv', 'a\tb\n1\t2\n')
    with pytest.raises(DatasetError, match="no column 'index'"):
        mmbench()


def test_faults_are_counted_listed_and_refused_past_a_budget():
    benchmark_files.pope('random')()
    good = dict(image='COCO_val2014_000000000001.jpg', text='Is there?',
                label='yes')
    benchmark_files.put('pope/coco_pope_random.json', benchmark_files.lines([
        dict(good, question_id=1),
        dict(good, question_id=1),
        dict(good, question_id=2, image='lost.jpg'),
        dict(good, question_id=3, label='maybe'),
        dict(good, question_id=4, text=None),
    ]) + '{"question_id": 5\n')
    with pytest.raises(DatasetError) as error:
        pope()
    for part in ('5 faults', 'repeated ids: 1 (1)', 'missing images: 1',
                 'lost.jpg', 'labels other than yes and no: 1 (3)',
                 "entries without 'text': 1 (4)", 'unreadable lines: 1 (6)',
                 'max_faults'):
        assert part in str(error.value)
    with pytest.raises(DatasetError):
        pope(max_faults=4)
    assert len(pope(max_faults=5)) == 1


def test_a_wrong_folder_of_images_is_told_at_once():
    benchmark_files.pope('random')()
    shutil.rmtree('data/coco')
    with pytest.raises(DatasetError, match='none of the 1 images is there'):
        pope(max_faults=100)


def test_options_are_turned_once_for_each_of_them():
    benchmark_files.mmbench()
    data = mmbench(circular=True)
    first = [data[i] for i in range(3)]
    assert [item['choices'] for item in first] == [
        ['cat', 'dog', 'cow'], ['dog', 'cow', 'cat'], ['cow', 'cat', 'dog']]
    assert [item['gt_answer'] for item in first] == [1, 0, 2]
    assert [item['rotation'] for item in first] == [0, 1, 2]
    assert first[1]['prompt'] == (
        'Which?\nA. dog\nB. cow\nC. cat\nAnswer with the letter of the right '
        'option.')
    # Two more for the second question, which has a hint and two options and
    # shows the first one's image; the file's own rotation is left out.
    assert len(data) == 5
    assert data[3]['prompt'].startswith('Look!\nWhich?\nA. up\nB. down\n')
    assert data[3]['img'] == data[0]['img'] == benchmark_files.image_bytes()
    assert len(mmbench()) == 2


def test_braces_in_a_question_stay_as_they_are():
    benchmark_files.hateful_memes()
    data = benchmarks.HatefulMemes(
        data_root='data/hateful_memes', ann_file='dev_seen.jsonl')
    assert '"good {morning}" written' in data[0]['question']
    benchmark_files.scienceqa()
    data = benchmarks.ScienceQAImages(
        data_root='data/scienceqa', ann_file='problems.json',
        data_prefix='images/test')
    assert len(data) == 1
    assert data[0]['prompt'].startswith('Look.\nWhich is a solid?\nA. ice')
    with pytest.raises(DatasetError, match='{question}'):
        benchmarks.IconQAChoices(template='?')


def test_questions_and_answers_must_match():
    benchmark_files.vqa('okvqa', 'q.json', 'a.json')()
    path = 'data/okvqa/a.json'
    content = json.load(open(path))
    content['annotations'][1]['question_id'] = 99
    benchmark_files.put('okvqa/a.json', content)

    def read(**more):
        return benchmarks.VQAQuestions(
            data_root='data', question_file='okvqa/q.json',
            ann_file='okvqa/a.json', data_prefix='coco/val2014', **more)

    with pytest.raises(DatasetError) as error:
        read()
    assert 'questions without answers: 1 (71)' in str(error.value)
    assert 'answers to no question: 1 (99)' in str(error.value)
    assert len(read(max_faults=2)) == 1


def test_a_draw_of_images_is_the_same_each_time():
    benchmark_files.chair()

    def draw(**more):
        data = benchmarks.COCOFormatCaptions(
            data_root='data/coco', data_prefix='val2014',
            ann_file='annotations/captions_val2014.json', **more)
        return [data[i]['image_id'] for i in range(len(data))]

    assert draw() == [1, 2, 3]
    assert draw(num_images=2) == draw(num_images=2)
    assert len({tuple(draw(num_images=1, seed=s)) for s in range(9)}) > 1
    with pytest.raises(DatasetError, match='has 3 images'):
        draw(num_images=4)


def test_an_image_is_given_once_with_all_its_captions():
    benchmark_files.karpathy('flickr30k/dataset_flickr30k.json',
                             'flickr30k/images/', 'test')()
    settings = dict(data_root='data/flickr30k', data_prefix='images',
                    ann_file='dataset_flickr30k.json')
    data = benchmarks.KarpathyCaptions(**settings)
    assert len(data) == 2
    assert len(data[0]['gt_caption']) == 5
    with pytest.raises(DatasetError, match='has no split'):
        benchmarks.KarpathyCaptions(split='val', **settings)


def test_mme_pairs_must_be_whole():
    benchmark_files.mme()
    root = 'mme/MME_Benchmark_release_version'
    benchmark_files.put(f'{root}/OCR/1.txt', 'Is it red?\tYes\n')
    benchmark_files.put(f'{root}/count/2.png', None)
    settings = dict(data_root='data/mme',
                    data_prefix='MME_Benchmark_release_version')
    with pytest.raises(DatasetError) as error:
        benchmarks.MMEQuestions(**settings)
    assert '(OCR/1.png)' in str(error.value)
    assert 'images without questions: 1 (count/2.png)' in str(error.value)
    assert len(benchmarks.MMEQuestions(max_faults=2, **settings)) == 26
    with pytest.raises(DatasetError, match='no task'):
        benchmarks.MMEQuestions(tasks=['chess'], **settings)
