# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
import random

import pytest
import torch
from tiny_twin.documents import (
    IGNORE,
    Document,
    base_document,
    begin,
    chat_document,
)
from tiny_twin.language import collate, next_token_loss
from tiny_twin.notes import merged_notes, plain_notes
from tiny_twin.tokenizer import load_encoder, train_tokenizer

from mmpretrain_minigpt4.datasets.shapes import draw_scene


@pytest.fixture(scope='module')
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp('tokenizer')
    train_tokenizer(folder)
    return folder, load_encoder(folder)


def test_the_tokenizer_spells_any_text(tokenizer):
    _, sp = tokenizer
    for text in ('A large red ring.', 'naïve 🙂 \n tab\t #1', '漢字'):
        assert sp.decode(sp.encode(text)) == text


def test_the_end_sign_has_two_spellings_as_in_llama(tokenizer):
    _, sp = tokenizer
    assert sp.encode('###Human:', out_type=str)[0] == '▁###'
    assert sp.encode('gray.###', out_type=str)[-2:] == ['.', '###']


def test_the_tokenizer_holds_no_path(tokenizer):
    folder, _ = tokenizer
    blob = (folder / 'tokenizer.model').read_bytes()
    assert str(folder).encode() not in blob and b'/tmp' not in blob


def test_training_the_tokenizer_again_gives_the_same_file(tokenizer, tmp_path):
    folder, _ = tokenizer
    train_tokenizer(tmp_path)
    assert (tmp_path / 'tokenizer.model').read_bytes() == (
        folder / 'tokenizer.model').read_bytes()


@pytest.mark.parametrize('form', [plain_notes, merged_notes])
def test_notes_tell_every_fact(tokenizer, form):
    _, sp = tokenizer
    for seed in range(50):
        scene = draw_scene(seed)
        slots = form(scene.objects, scene.background, random.Random(seed),
                     sp.encode)
        words = ' '.join(
            sp.id_to_piece(t) for slot in slots for t in slot).replace(
                '▁', '')
        for fact in [scene.background, *(o.color for o in scene.objects),
                     *(o.shape for o in scene.objects)]:
            assert fact in words.replace(' ', '')


def test_only_answers_are_learnt_in_a_chat(tokenizer):
    _, sp = tokenizer
    for seed in range(20):
        document = chat_document(seed, sp.encode)
        learnt = sp.decode([t for t in document.labels if t != IGNORE])
        assert len(document.slots) == len(document.labels)
        assert learnt.endswith('###')
        assert 'Human' not in learnt and 'Assistant' not in learnt


def test_a_base_document_learns_all_but_its_notes(tokenizer):
    _, sp = tokenizer
    document = base_document(5, sp.encode)
    start, stop = document.notes
    assert all(t == IGNORE for t in document.labels[:stop])
    assert all(t != IGNORE for t in document.labels[stop:])
    assert start == 1


def test_a_slot_is_the_sum_of_its_words():
    embed = torch.nn.Embedding(10, 4)
    document = begin()
    document.add_notes([[3, 4], [], [5]])
    document.add([6], learn=True)
    embeds, labels = collate([document, Document([[2]], [2])], embed)
    weight = embed.weight
    torch.testing.assert_close(embeds[0, 1], weight[3] + weight[4])
    assert not embeds[0, 2].any() and not embeds[1, 1:].any()
    torch.testing.assert_close(embeds[0, 3:], weight[[5, 6]])
    assert labels.tolist() == [[-100, -100, -100, -100, 6], [2] + [-100] * 4]


def test_the_loss_is_the_language_models_own(tokenizer):
    from tiny_twin.language import new_language_model
    _, sp = tokenizer
    torch.manual_seed(0)
    model = new_language_model().eval()
    embeds, labels = collate([base_document(i, sp.encode) for i in (1, 2)],
                             model.get_input_embeddings())
    expected = model(inputs_embeds=embeds, labels=labels).loss
    torch.testing.assert_close(
        next_token_loss(model, embeds, labels), expected)
