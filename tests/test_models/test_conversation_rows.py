# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Training on conversations: which tokens are learnt, by hand."""

import pytest
import torch
import torch.nn.functional as F
from helpers.tiny_llm import ids_of
from mmpretrain.structures import DataSample

from mmpretrain_minigpt4.errors import PromptError
from mmpretrain_minigpt4.models.heads import VicunaHead
from mmpretrain_minigpt4.prompts import (
    TEMPLATES,
    ImageSlot,
    Mark,
    render_exchanges,
)

BOS, EOS, IMAGE, OFF = 1, 2, -1, -100
TURNS = [('user', 'a'), ('assistant', 'red'), ('user', 'be'),
         ('assistant', 'fig')]


def sample(**fields):
    made = DataSample()
    for key, value in fields.items():
        made.set_field(value, key)
    return made


@pytest.fixture(scope='module')
def head(llm_folder):
    return VicunaHead(llm=str(llm_folder))


def test_every_answer_and_its_end_are_learnt_and_nothing_else(head):
    row = head.prompt_encoder.training_row(
        sample(conversation=TURNS), torch.zeros(1, 2, 32))
    before = [
        BOS,
        *ids_of('_###', 'H', 'u', 'm', 'a', 'n', ':', '_', '<', 'I', 'm', 'g',
                '>'), IMAGE, IMAGE,
        *ids_of('_', '<', '/', 'I', 'm', 'g', '>', '_', 'a', '##', '#', 'A',
                's', 's', 'i', 's', 't', 'a', 'n', 't', ':', '_')
    ]
    first = ids_of('_red', '##', '#')
    # The end sign of the first answer opens the second turn.
    between = ids_of('_', 'H', 'u', 'm', 'a', 'n', ':', '_', 'b', 'e', '##',
                     '#', 'A', 's', 's', 'i', 's', 't', 'a', 'n', 't', ':',
                     '_')
    second = ids_of('_', 'f', 'i', 'g', '##', '#')
    assert row.ids == before + first + between + second
    assert row.labels == ([OFF] * len(before) + first + [OFF] * len(between)
                          + second)


def test_one_question_in_a_conversation_is_a_plain_sample(head):
    tokens = torch.zeros(1, 2, 32)
    plain = head.prompt_encoder.training_row(
        sample(prompt='a', gt_caption='red'), tokens)
    talk = head.prompt_encoder.training_row(sample(conversation=TURNS[:2]),
                                            tokens)
    assert plain == talk


def test_a_llama2_conversation_learns_each_end_token(llm_folder):
    head = VicunaHead(llm=str(llm_folder), template='llama2')
    row = head.prompt_encoder.training_row(
        sample(conversation=TURNS), torch.zeros(0, 2, 32))
    learnt = [label for label in row.labels if label != OFF]
    assert learnt == [*ids_of('_red'), EOS,
                      *ids_of('_', 'f', 'i', 'g'), EOS]
    assert row.ids.count(BOS) == 2


def test_each_answer_is_cut_alone_and_keeps_its_end(llm_folder):
    head = VicunaHead(llm=str(llm_folder), max_txt_len=4)
    turns = [('user', 'a'), ('assistant', 'abcdefgh')] * 2
    row = head.prompt_encoder.training_row(sample(conversation=turns),
                                           torch.zeros(0, 2, 32))
    learnt = [label for label in row.labels if label != OFF]
    assert learnt == ids_of('_', 'a', '##', '#') * 2


def test_the_loss_is_the_mean_over_all_answers(head):
    visual = torch.randn(
        2, 2, 32, generator=torch.Generator().manual_seed(5))
    talk = sample(
        conversation=[('user', ['see ', ImageSlot()]), *TURNS[1:2],
                      ('user', [ImageSlot(), ' be']), *TURNS[3:]],
        system='be a')
    plain = sample(prompt='a', gt_caption='a red fig')
    loss = head.loss([visual, visual[:1]], [talk, plain])['loss']
    # Again without batching, padding or leaving logits out.
    lost, count = 0., 0
    for one, tokens in ((talk, visual), (plain, visual[:1])):
        row = head.prompt_encoder.training_row(one, tokens)
        ids = torch.tensor(row.ids)
        embeds = head.llm.get_input_embeddings()(ids.clamp(min=0))
        embeds[ids == IMAGE] = tokens.flatten(0, 1)
        logits = head.llm(inputs_embeds=embeds[None]).logits[0, :-1]
        lost += F.cross_entropy(
            logits, torch.tensor(row.labels)[1:], reduction='sum')
        count += sum(label != OFF for label in row.labels)
    assert loss.item() == pytest.approx((lost / count).item(), abs=1e-5)


def test_the_pieces_before_each_answer_are_those_of_the_chat():
    parts = render_exchanges(TEMPLATES['vicuna_v0'], TURNS, 'Be kind.', 1)
    assert parts == [
        ([Mark.BOS, 'Be kind.###Human: <Img>', ImageSlot(),
          '</Img> a###Assistant: '], 'red'),
        (['Human: be###Assistant: '], 'fig'),
    ]


@pytest.mark.parametrize('turns', [
    [], TURNS[:1], TURNS[:3], TURNS[1:2], TURNS[:2] + TURNS[:2] + TURNS[1:2]])
def test_turns_that_do_not_alternate_are_refused(turns):
    with pytest.raises(PromptError):
        render_exchanges(TEMPLATES['vicuna_v0'], turns)
