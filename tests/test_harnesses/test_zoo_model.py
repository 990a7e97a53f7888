# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""What a harness asks gets the answers of the inferencers."""

import pytest

from mmpretrain_minigpt4.apis import VQAInferencer
from mmpretrain_minigpt4.datasets.shapes import TEST_SEED, draw_scene
from mmpretrain_minigpt4.errors import ImageError, PromptError
from mmpretrain_minigpt4.harnesses.zoo_model import Asker, Document

SCENES = [draw_scene(TEST_SEED + i) for i in range(6)]
GREEDY = dict(do_sample=False, max_new_tokens=40)


@pytest.fixture(scope='module')
def asker():
    return Asker('minigpt-4_tiny_vqa')


def questions():
    return [
        Document(f'scene {s.seed}', s.qa[i % 3][0], [s.image])
        for i, s in enumerate(SCENES)
    ]


def test_answers_are_those_of_the_inferencer(asker):
    documents = questions()
    found = VQAInferencer('minigpt-4_tiny_vqa')(
        [s.image for s in SCENES], [d.text for d in documents],
        max_new_tokens=40)
    assert asker.answer(documents, GREEDY) == [
        item['pred_answer'] for item in found]


def test_a_batch_may_mix_none_one_and_two_images(asker):
    one = questions()[0]
    mixed = [
        one,
        Document('two', one.text, [SCENES[0].image, [SCENES[1].image]]),
        Document('none', 'What is this?', None),
    ]
    together = asker.answer(mixed, GREEDY)
    assert together == [asker.answer([x], GREEDY)[0] for x in mixed]


def test_an_image_may_stand_amid_the_text(asker):
    one = questions()[0]
    marked = Document('marked', f'<image> {one.text}', one.visuals)
    # The template puts the same in front by itself.
    assert asker.answer([marked], GREEDY) == asker.answer([one], GREEDY)


def test_the_answer_that_it_gives_is_the_likeliest(asker):
    documents = [
        Document('shape', s.qa[0][0], s.image, (s.qa[0][1], 'a of of the a'))
        for s in SCENES
    ]
    given = asker.answer(documents, GREEDY)
    rated = asker.rate(documents)
    for document, text, (right, wrong) in zip(
            documents, given, rated, strict=True):
        assert right.mean > wrong.mean
        assert not wrong.greedy
        assert right.greedy == (text == document.candidates[0])
    assert any(right.greedy for right, _ in rated)


def test_a_text_alone_has_a_likelihood(asker):
    (usual, odd), = asker.rate(
        [Document('text', '', None, ('A large red square.', 'a a of of'))])
    assert usual.mean > odd.mean


def test_errors_name_the_document(asker, tmp_path):
    video = tmp_path / 'clip.mp4'
    video.write_bytes(b'\0\0\0\x18ftypmp42')
    with pytest.raises(ImageError, match='task x, document 3: .*clip.mp4'):
        asker.answer([Document('task x, document 3', 'What?', [video])],
                     GREEDY)
    with pytest.raises(PromptError, match='document 4: The prompt is empty'):
        asker.answer([Document('document 4', ' ', SCENES[0].image)], GREEDY)
