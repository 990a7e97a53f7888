# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from mmpretrain_minigpt4.datasets.shapes import (
    COLORS,
    PLACES,
    SHAPES,
    SIZES,
    TEST_SEED,
    draw_scene,
)
from mmpretrain_minigpt4.datasets.shapes.dataset import ShapesDataset
from mmpretrain_minigpt4.datasets.shapes.language import (
    is_failed,
    question_kind,
    read_description,
)
from mmpretrain_minigpt4.errors import DatasetError

SCENES = [draw_scene(seed) for seed in range(TEST_SEED, TEST_SEED + 300)]


def test_a_seed_always_gives_the_same_scene():
    one, two = draw_scene(TEST_SEED + 7), draw_scene(TEST_SEED + 7)
    assert one == two
    assert one.image.tobytes() == two.image.tobytes()
    assert one.image.tobytes() != SCENES[8].image.tobytes()


def test_a_scene_is_what_another_machine_draws():
    # Written down once: a change of the world would silently make every
    # number of the tiny twin incomparable.
    scene = draw_scene(0)
    assert scene.caption == 'a yellow cross and a green triangle on white'
    assert scene.description == (
        'The image shows two shapes. In the top right there is a large '
        'yellow cross. In the bottom right there is a large green triangle. '
        'The background is white.')


def test_the_world_is_as_wide_as_promised():
    assert len(COLORS) >= 6 and len(SHAPES) >= 5
    assert len(SIZES) >= 2 and len(PLACES) >= 4
    counts = {len(s.objects) for s in SCENES}
    assert counts == {1, 2, 3}
    objects = [o for s in SCENES for o in s.objects]
    assert {o.color for o in objects} == set(COLORS)
    assert {o.shape for o in objects} == set(SHAPES)
    assert {question_kind(q) for s in SCENES for q, _ in s.qa} == {
        'what', 'where', 'how many', 'color', 'is there'}


def test_a_description_tells_every_fact_and_nothing_else():
    for scene in SCENES:
        found, ground = read_description(scene.description)
        assert found == [(o.color, o.shape, o.size, o.place)
                         for o in scene.objects]
        assert ground == scene.background
        assert not is_failed(scene.description)


def test_answers_are_true():
    """Answer each question again, from the facts, in another way."""
    for scene in SCENES:
        for question, answer in scene.qa:
            words = question.rstrip('?').split()
            if question.startswith('Is there'):
                color, shape = words[-2:]
                there = any(o.color == color and o.shape == shape
                            for o in scene.objects)
                assert answer == ('Yes.' if there else 'No.')
            elif question.startswith('Where'):
                color, shape = words[-2:]
                places = [o.place for o in scene.objects
                          if (o.color, o.shape) == (color, shape)]
                assert [answer] == [f'In the {p}.' for p in places]
            elif question.startswith('How many shapes'):
                assert answer == ['', 'One.', 'Two.', 'Three.'][
                    len(scene.objects)]
            elif question == 'What color is the background?':
                assert answer.lower() == f'{scene.background}.'
            elif question.startswith('What color'):
                colors = [o.color for o in scene.objects
                          if o.shape == words[-1]]
                assert [answer.lower()] == [f'{c}.' for c in colors]


def test_pixels_show_the_object_in_its_place():
    for scene in SCENES[:60]:
        pixels = np.asarray(scene.image, float)
        for o in scene.objects:
            x, y = PLACES[o.place]
            quarter = pixels[int(y * 128) - 32:int(y * 128) + 32,
                             int(x * 128) - 32:int(x * 128) + 32]
            distance = np.abs(quarter - COLORS[o.color]).max(-1)
            assert (distance < 45).sum() > 20, (scene.seed, o)


@pytest.mark.parametrize('text, failed', [
    ('', True),
    ('a red circle', True),
    ('The image shows two .', True),
    ('The image shows two shapes. A large red', True),
    ('The image shows one shape. The image shows one shape.', True),
    ('The image shows one shape. The background is gray.', False),
    ('In the top left there is a ring.', False),
])
def test_a_broken_description_is_called_failed(text, failed):
    assert is_failed(text) is failed


def test_items_hold_what_the_head_and_the_metric_read():
    common = dict(first_seed=TEST_SEED, num_scenes=3, test_mode=True)
    item = ShapesDataset(content='description', **common)[0]
    assert item['gt_caption'] == SCENES[0].description
    assert item['objects'][0] == (
        SCENES[0].objects[0].color, SCENES[0].objects[0].shape,
        SCENES[0].objects[0].size, SCENES[0].objects[0].place)
    asked = ShapesDataset(content='question', **common)
    assert len(asked) == 6
    assert (asked[3]['question'], asked[3]['gt_answer']) == SCENES[1].qa[1]
    assert len({asked[i]['question_id'] for i in range(6)}) == 6


def test_conversations_mix_questions_and_descriptions():
    data = ShapesDataset(
        first_seed=0, num_scenes=200, content='conversation',
        question_share=0.5)
    asked = sum(data[i]['prompt'].endswith('?') and
                data[i]['gt_caption'] != draw_scene(i).description
                for i in range(200))
    assert 70 < asked < 130


@pytest.mark.parametrize('arguments, word', [
    (dict(first_seed=TEST_SEED, num_scenes=1), 'training'),
    (dict(first_seed=TEST_SEED - 1, num_scenes=2), 'training'),
    (dict(first_seed=0, num_scenes=1, test_mode=True), 'test'),
    (dict(first_seed=0, num_scenes=0), 'num_scenes'),
    (dict(first_seed=0, num_scenes=1, content='poem'), 'content'),
])
def test_test_scenes_are_never_trained_on(arguments, word):
    with pytest.raises(DatasetError, match=word):
        ShapesDataset(**arguments)


def test_a_scene_of_a_negative_seed_is_refused():
    with pytest.raises(ValueError, match='negative'):
        draw_scene(-1)
