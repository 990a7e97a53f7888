# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""A talk with the tiny twin, beside the same talk asked from nothing."""

import pytest
import torch
from mmpretrain.structures import DataSample

from mmpretrain_minigpt4.apis import Chat, VQAInferencer
from mmpretrain_minigpt4.datasets.shapes import TEST_SEED, draw_scene
from mmpretrain_minigpt4.errors import ImageError

SCENES = [draw_scene(TEST_SEED + i) for i in range(2)]
QUESTIONS = [question for question, _ in SCENES[0].qa][:4]


@pytest.fixture(scope='module')
def inferencer():
    return VQAInferencer('minigpt-4_tiny_vqa')


@pytest.fixture
def chat(inferencer):
    return Chat(inferencer, max_new_tokens=24)


def whole(inferencer, turns, images, system=None):
    """The last answer of a conversation, without any memory."""
    model, sample = inferencer.model, DataSample()
    sample.set_field(turns, 'conversation')
    sample.set_field(system, 'system')
    tokens = []
    for batch in inferencer.preprocess([dict(img=x) for x in images]):
        data = model.data_preprocessor(batch, False)
        tokens += model.extract_feat(data['images'])
    answer, = model.head.answerer.generate([torch.stack(tokens)], [sample],
                                           max_new_tokens=24)
    return answer


@pytest.mark.parametrize('system', [None, 'Answer truly.'])
def test_each_turn_answers_as_if_asked_from_nothing(inferencer, system):
    chat = Chat(inferencer, system, max_new_tokens=24)
    turns = []
    for i, question in enumerate(QUESTIONS):
        image = SCENES[0].image if i == 0 else None
        # Plain pieces stand for what the talk holds by then.
        turns = [*chat._turns, ('user', question)]
        found = chat.ask(question, image)
        expected = whole(inferencer, turns, [SCENES[0].image], system)
        assert found == expected.text
    assert [role for role, _ in chat.history] == ['user', 'assistant'] * 4
    assert chat.history[-2] == ('user', QUESTIONS[-1])


def test_a_new_turn_reads_its_own_words_only(chat):
    chat.ask(QUESTIONS[0], SCENES[0].image)
    chat.ask(QUESTIONS[1])
    read = []
    for i in range(8):
        before = chat._engine.stats.prefill_tokens
        chat.ask(QUESTIONS[i % 4])
        read.append(chat._engine.stats.prefill_tokens - before)
    words = chat.model.head.tokenizer.encode
    for i, number in enumerate(read):
        frame = words(f'###Human: {QUESTIONS[i % 4]}###Assistant: ')
        # What was chosen last, the end sign, was never read.
        assert number <= len(frame) + 2


def test_a_second_image_may_come_later(inferencer, chat):
    chat.ask(QUESTIONS[0], SCENES[0].image)
    turns = list(chat._turns)
    found = chat.ask('How many shapes are there?', [SCENES[1].image])
    assert found == whole(
        inferencer, [*turns, ('user', chat._turns[2][1])],
        [scene.image for scene in SCENES]).text
    assert len(chat._tokens) == 2


def test_what_outgrows_the_model_loses_old_turns_but_no_image(inferencer):
    head = inferencer.model.head
    chat = Chat(inferencer, 'Answer truly.', max_new_tokens=8)
    for i in range(60):
        chat.ask(QUESTIONS[i % 4], SCENES[0].image if i == 0 else None)
    tokens = torch.stack(chat._tokens)
    sample = dict(conversation=[*chat._turns, ('user', QUESTIONS[0])],
                  system='Answer truly.')
    everything, _ = head.prompt_encoder.prompt_ids(sample, tokens)
    room = head.context - 8
    assert len(everything) > room
    ids, _ = head.prompt_encoder.prompt_ids(sample, tokens, room)
    assert room - 60 < len(ids) <= room
    words = head.tokenizer.encode
    start = [head.tokenizer.bos_id, *words('Answer truly.###Human: <Img>')]
    assert ids[:len(start)] == start
    assert ids.count(-1) == tokens.shape[-2]
    tail = words(QUESTIONS[0] + '###Assistant: ')[-8:]
    assert ids[-8:] == tail


def test_a_turn_that_was_left_is_remembered_as_far_as_it_was_heard(chat):
    stream = chat.stream('Describe this image in detail.', SCENES[0].image)
    said = next(stream) + next(stream)
    stream.close()
    assert chat.history == [
        ('user', 'Describe this image in detail.'), ('assistant', said)]
    assert chat.ask(QUESTIONS[0])
    chat.reset()
    assert chat.history == [] and chat._tokens == []


def test_a_broken_image_leaves_the_talk_as_it_was(chat):
    chat.ask(QUESTIONS[0], SCENES[0].image)
    before = list(chat.history)
    with pytest.raises(ImageError):
        chat.ask('And this?', b'no image')
    assert chat.history == before and len(chat._tokens) == 1
