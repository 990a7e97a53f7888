# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The readers of every map-style format, on small made samples."""

import json
from collections import Counter

import pytest
from helpers.training_data import picture, write_align, write_images
from mmengine.registry import DATASETS, FUNCTIONS

from mmpretrain_minigpt4.datasets import (
    CaptionJSON,
    CCSBUAlign,
    Conversations,
    EachImage,
    ImageTextFolder,
    MiniGPT4JSON,
)
from mmpretrain_minigpt4.errors import ConfigError, DatasetError, ImageError
from mmpretrain_minigpt4.prompts import STAGE2_INSTRUCTIONS, ImageSlot


def dump(path, content):
    path.write_text(json.dumps(content), encoding='utf-8')


# ------------------------------------------------------------- cc_sbu_align


def test_cc_sbu_align_gives_image_instruction_and_caption(tmp_path, pipeline):
    write_align(tmp_path)
    data = DATASETS.build(
        dict(
            type='mmpretrain_minigpt4.CCSBUAlign',
            data_root=str(tmp_path),
            pipeline=pipeline))
    assert len(data) == 6
    sample = data[4]['data_samples']
    assert sample.gt_caption == 'The image shows 4.'
    assert sample.prompt in STAGE2_INSTRUCTIONS
    assert sample.image_id == '4'
    assert sample.img_path.endswith('4.jpg')
    assert data[4]['inputs'].shape == (3, 8, 8)


def test_instructions_are_drawn_for_each_sample_and_stay(tmp_path):
    write_align(tmp_path, 200)
    drawn = [CCSBUAlign(str(tmp_path), seed=seed) for seed in (42, 42, 7)]
    first, again, other = ([data[i]['prompt'] for i in range(200)]
                           for data in drawn)
    assert first == again != other
    counts = Counter(first)
    assert set(counts) == set(STAGE2_INSTRUCTIONS)
    assert min(counts.values()) > 30
    # Written down once: another order would make runs incomparable.
    assert [STAGE2_INSTRUCTIONS.index(x) for x in first[:12]] == GOLDEN


GOLDEN = [1, 3, 0, 3, 1, 1, 2, 1, 2, 2, 2, 3]


def test_a_batch_may_have_one_instruction_as_in_the_original(
        tmp_path, pipeline):
    write_align(tmp_path)
    data = CCSBUAlign(str(tmp_path), pipeline=pipeline)
    items = [data[i] for i in range(6)]
    assert len({item['data_samples'].prompt for item in items}) > 1
    collate = FUNCTIONS.get('mmpretrain_minigpt4.one_instruction')
    batch = collate(items)
    assert batch['inputs'].shape == (6, 3, 8, 8)
    assert {sample.prompt for sample in batch['data_samples']
            } == {data[0]['data_samples'].prompt}


def test_what_is_missing_is_named_with_its_place(tmp_path):
    with pytest.raises(DatasetError, match='filter_cap.json.*image_id'):
        CCSBUAlign(str(tmp_path))
    write_align(tmp_path, 5)
    for i in range(3):
        (tmp_path / 'image' / f'{i}.jpg').unlink()
    with pytest.raises(DatasetError, match='3 images .*0.jpg.*DATA_ROOT'):
        CCSBUAlign(str(tmp_path))


@pytest.mark.parametrize('content, word', [
    ('{"annotations": [', 'not valid JSON'),
    ('[' * 100_000, 'not valid JSON'),
    ('{}', 'annotations'),
    ('{"annotations": []}', 'no samples'),
    ('{"annotations": [{"image_id": 1}]}', 'Entry 0'),
])
def test_a_wrong_annotation_file_is_named(tmp_path, content, word):
    write_align(tmp_path)
    (tmp_path / 'filter_cap.json').write_text(content)
    with pytest.raises(DatasetError, match=word):
        CCSBUAlign(str(tmp_path))


# -------------------------------------------------------------- broken ones


def test_five_percent_broken_images_are_replaced_and_listed(
        tmp_path, pipeline):
    write_align(tmp_path, 100, broken=[3, 20, 50, 70, 99])
    data = CCSBUAlign(str(tmp_path), pipeline=pipeline)
    listed, seen = set(), set()
    for i in range(100):
        sample = data[i]['data_samples']
        seen.add(sample.image_id)
        for fault in sample.get('skipped', []):
            assert 'image' in fault['reason']
            listed.add(fault['where'].rsplit('/', 1)[-1])
    assert listed == {'3.jpg', '20.jpg', '50.jpg', '70.jpg', '99.jpg'}
    assert len(seen) == 95
    assert data.budget.broken >= 5


def test_sixty_percent_broken_images_stop_the_run(tmp_path, pipeline):
    write_align(tmp_path, 20, broken=range(12))
    data = CCSBUAlign(str(tmp_path), pipeline=pipeline)
    with pytest.raises(DatasetError, match='max_broken_share.*data check'):
        for i in range(20):
            data[i]


def test_a_replacement_is_the_same_in_a_resumed_run(tmp_path, pipeline):
    write_align(tmp_path, 40, broken=[5])
    items = [CCSBUAlign(str(tmp_path), pipeline=pipeline)[5]
             for _ in range(2)]
    ids = {item['data_samples'].image_id for item in items}
    assert len(ids) == 1 and ids != {'5'}


def test_tests_replace_nothing(tmp_path, pipeline):
    write_align(tmp_path, 40, broken=[5])
    data = CCSBUAlign(str(tmp_path), pipeline=pipeline, test_mode=True)
    with pytest.raises(ImageError, match='5.jpg'):
        data[5]


def test_an_empty_caption_is_broken(tmp_path, pipeline):
    write_align(tmp_path, 10)
    content = json.loads((tmp_path / 'filter_cap.json').read_text())
    content['annotations'][2]['caption'] = ' \n'
    dump(tmp_path / 'filter_cap.json', content)
    data = CCSBUAlign(str(tmp_path), pipeline=pipeline)
    fault, = data[2]['data_samples'].skipped
    assert fault['reason'] == 'The caption is empty.'


# ------------------------------------------------------------ other formats


def test_captions_in_the_forms_of_coco_and_lavis(tmp_path):
    write_images(tmp_path / 'images', ['a.jpg', 'b.png'])
    dump(tmp_path / 'coco.json', dict(
        images=[dict(id=7, file_name='a.jpg'), dict(id=8, file_name='b.png')],
        annotations=[dict(id=1, image_id=8, caption='second'),
                     dict(id=2, image_id=7, caption='first')]))
    dump(tmp_path / 'lavis.json', [
        dict(image='a.jpg', caption=['one', 'two']),
        dict(image='b.png', caption='three', image_id=8)])

    def read(name):
        data = CaptionJSON(name, str(tmp_path), dict(img_path='images'))
        return [(item['image_id'], item['gt_caption'])
                for item in (data[i] for i in range(len(data)))]

    assert read('coco.json') == [(8, 'second'), (7, 'first')]
    assert read('lavis.json') == [('a.jpg', 'one'), ('a.jpg', 'two'),
                                  (8, 'three')]


def test_a_caption_of_no_image_is_named(tmp_path):
    dump(tmp_path / 'a.json', dict(
        images=[], annotations=[dict(image_id=3, caption='x')]))
    with pytest.raises(DatasetError, match='Entry 0.*among "images"'):
        CaptionJSON('a.json', str(tmp_path))


def test_a_folder_of_images_with_texts_beside_them(tmp_path):
    write_images(tmp_path, ['dog.jpg', '.hidden.jpg'])
    write_images(tmp_path / 'in', ['cat.PNG'])
    (tmp_path / 'dog.txt').write_text('A dog.\n')
    (tmp_path / 'in' / 'cat.txt').write_text('\ufeffEine Katze: süß')
    data = ImageTextFolder(
        data_root=str(tmp_path), instructions=['Describe it.'])
    assert [(x['image_id'], x['gt_caption'], x['prompt'])
            for x in (data[0], data[1])] == [
        ('dog', 'A dog.', 'Describe it.'),
        ('in/cat', 'Eine Katze: süß', 'Describe it.')]


def test_images_without_text_are_counted_against_the_budget(tmp_path):
    write_images(tmp_path, [f'{i}.jpg' for i in range(10)])
    for i in range(9):
        (tmp_path / f'{i}.txt').write_text('x')
    data = ImageTextFolder(data_root=str(tmp_path))
    assert len(data) == 9
    assert [x.rsplit('/', 1)[-1] for x in data.left_out] == ['9.jpg']
    for i in range(5):
        (tmp_path / f'{i}.txt').unlink()
    with pytest.raises(DatasetError, match='6 of 10 images have no text'):
        ImageTextFolder(data_root=str(tmp_path))


def test_two_images_of_one_text_are_refused(tmp_path):
    write_images(tmp_path, ['a.jpg', 'a.png'])
    (tmp_path / 'a.txt').write_text('x')
    with pytest.raises(DatasetError, match='share one text'):
        ImageTextFolder(data_root=str(tmp_path))


def test_the_toolboxs_own_json_in_english_and_chinese(tmp_path):
    write_images(tmp_path / 'image', ['0.jpg', '1.jpg', '2.jpg'])
    place = '<Img><ImageHere></Img> '
    dump(tmp_path / 'conversation_data.json', [
        dict(id='0', conversation=f'###Ask: {place}What? ###Answer: A dog.'),
        dict(id='1', conversation=f'###问：{place}是什么？###答：狗。'),
        dict(id='2', conversation=(
            f'###Ask: {place}What? ###Answer: A dog. ###Ask: Big? '
            '###Answer: No.###')),
    ])
    data = MiniGPT4JSON(str(tmp_path))
    assert (data[0]['prompt'], data[0]['gt_caption']) == ('What?', 'A dog.')
    assert (data[1]['prompt'], data[1]['gt_caption']) == ('是什么？', '狗。')
    assert data[2]['conversation'] == [
        ('user', 'What?'), ('assistant', 'A dog.'), ('user', 'Big?'),
        ('assistant', 'No.')]


@pytest.mark.parametrize('text', [
    'What? ###Answer: x', '###Answer: x', '###Ask: x', 'nothing'])
def test_a_conversation_without_turns_is_named(tmp_path, text):
    write_images(tmp_path / 'image', ['0.jpg'])
    dump(tmp_path / 'conversation_data.json', [dict(id='0',
                                                    conversation=text)])
    with pytest.raises(DatasetError, match='Entry 0'):
        MiniGPT4JSON(str(tmp_path))


# ------------------------------------------------------------ conversations


def talk(*texts, **more):
    return dict(
        conversations=[{
            'from': 'gpt' if i % 2 else 'human',
            'value': text
        } for i, text in enumerate(texts)],
        **more)


def read_talks(folder, *entries, **kwargs):
    dump(folder / 'talks.json', list(entries))
    write_images(folder / 'images', ['a.jpg', 'b.jpg'])
    return Conversations('talks.json', str(folder),
                         dict(img_path='images'), **kwargs)


def test_images_stand_where_a_conversation_places_them(tmp_path):
    slot = ['<Img>', ImageSlot(), '</Img> ']
    data = read_talks(
        tmp_path,
        talk('<image>\nWhat?', 'A dog.', 'Big?', 'No.', image='a.jpg'),
        talk('Compare <image> and <image>', 'Same.',
             images=['a.jpg', 'b.jpg']),
        talk('What?', 'A dog.', image='a.jpg'),
        talk('Hello', 'Hi.', id=9))
    first = data[0]
    assert first['conversation'] == [
        ('user', [*slot, 'What?']), ('assistant', 'A dog.'),
        ('user', ['Big?']), ('assistant', 'No.')]
    assert [x.rsplit('/', 1)[-1] for x in first['img_paths']] == ['a.jpg']
    assert data[1]['conversation'][0] == (
        'user', ['Compare ', *slot, 'and ', *slot])
    assert data[2]['conversation'][0][1].count(ImageSlot()) == 1
    assert data[3]['img_paths'] == [] and data[3]['image_id'] == '9'


def test_turns_beyond_the_limit_are_left_out_with_their_images(tmp_path):
    data = read_talks(
        tmp_path,
        talk('<image> a', 'b', '<image> c', 'd', images=['a.jpg', 'b.jpg']),
        max_turns=1)
    assert len(data[0]['conversation']) == 2
    assert len(data[0]['img_paths']) == 1


@pytest.mark.parametrize('entry', [
    talk('<image> <image>', 'x', image='a.jpg'),
    talk('a', 'b', 'c'),
    talk(),
    dict(conversations=[{'from': 'robot', 'value': 'x'}]),
    dict(id=3),
])
def test_a_wrong_conversation_is_named(tmp_path, entry):
    with pytest.raises(DatasetError, match='Entry 0'):
        read_talks(tmp_path, entry)


def test_conversations_reach_the_model_with_all_their_images(
        tmp_path, pipeline):
    pipeline[0] = dict(
        type='mmpretrain_minigpt4.EachImage', transforms=pipeline[:1])
    data = read_talks(
        tmp_path,
        talk('<image> and <image>', 'Same.', images=['a.jpg', 'b.jpg']),
        talk('Hello', 'Hi.'),
        pipeline=pipeline)
    batch = FUNCTIONS.get('mmpretrain_minigpt4.list_images')(
        [data[0], data[1]])
    from mmpretrain_minigpt4.models import ImageListPreprocessor
    given = ImageListPreprocessor([1, 2, 3], [2, 2, 2])(batch)
    assert [tuple(x.shape) for x in given['images']] == [
        (2, 3, 8, 8), (0, 3, 1, 1)]
    pixel = picture(1).getpixel((0, 0))
    assert given['images'][0][1, :, 0, 0].tolist() == pytest.approx(
        [(pixel[i] - i - 1) / 2 for i in range(3)], abs=2)
    assert given['data_samples'][0].conversation[1] == ('assistant', 'Same.')


def test_images_of_several_sizes_need_a_resize(tmp_path):
    picture(0, 8).save(tmp_path / 'a.png')
    picture(0, 9).save(tmp_path / 'b.png')
    with pytest.raises(ConfigError, match='Resize'):
        EachImage([dict(type='mmpretrain_minigpt4.LoadImage')])(
            dict(img_paths=[str(tmp_path / x) for x in ('a.png', 'b.png')]))


@pytest.mark.parametrize('settings', [
    dict(max_broken_share=2), dict(instructions=['']), dict(max_turns=0)])
def test_wrong_settings_are_told(tmp_path, settings):
    with pytest.raises(ConfigError):
        Conversations('a.json', str(tmp_path), **settings)
