# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The head: rows and labels by hand, loss and answers against transformers."""

import json

import pytest
import torch
from helpers.tiny_llm import ids_of
from mmpretrain.structures import DataSample

from mmpretrain_minigpt4.errors import GenerationError, PromptError
from mmpretrain_minigpt4.models.heads import VicunaHead
from mmpretrain_minigpt4.models.heads.rows import tokenize_answer
from mmpretrain_minigpt4.prompts import TEMPLATES, ImageSlot, Mark

BOS, EOS, IMAGE = 1, 2, -1
NEWLINE = 3 + 10  # the byte 0x0A


def sample(**fields):
    made = DataSample()
    for key, value in fields.items():
        made.set_field(value, key)
    return made


def letters(text):
    return ids_of(*text.replace(' ', '_'))


# ------------------------------------------------------- golden: ids, labels


def row_of(head, images, **fields):
    """Ids before the answer, and ids of the answer and its end."""
    tokens = torch.zeros(images, 2, 32)
    ids, template = head.prompt_encoder.prompt_ids(sample(**fields), tokens)
    answer = tokenize_answer(
        head.reader.target(sample(**fields)), template, head.tokenizer,
        head.max_txt_len)
    return ids, answer


def test_a_caption_row_is_what_the_original_trains_on(head):
    ids, answer = row_of(head, 1, prompt='a red', gt_caption='a fig.')
    assert ids == [
        BOS,
        # ###Human: <Img>
        *ids_of('_###', 'H', 'u', 'm', 'a', 'n', ':', '_', '<', 'I', 'm', 'g',
                '>'),
        IMAGE, IMAGE,
        # </Img> a red ###Assistant: , with the last blank
        *ids_of('_', '<', '/', 'I', 'm', 'g', '>', '_', 'a', '_red', '_###',
                'A', 's', 's', 'i', 's', 't', 'a', 'n', 't', ':', '_')
    ]
    # The end is spelt in two tokens, as it stands after a point.
    assert answer == ids_of('_', 'a', '_', 'f', 'i', 'g', '.', '##', '#')
    assert answer[-2:] == [259, 266]


def test_a_bare_row_is_image_caption_newline(head):
    ids, answer = row_of(head, 1, bare=True, gt_caption='a red')
    assert ids == [BOS, IMAGE, IMAGE]
    assert answer == [*ids_of('_', 'a', '_red'), NEWLINE]


def test_a_llama2_row_ends_with_the_end_token(llm_folder):
    head = VicunaHead(llm=str(llm_folder), template='llama2')
    ids, answer = row_of(head, 1, prompt='a', gt_caption='red')
    assert ids[0] == BOS and ids.count(IMAGE) == 2
    assert head.tokenizer.decode(ids[:8]).startswith('[')
    assert answer == [*ids_of('_red'), EOS]


def test_two_images_among_texts(head):
    ids, _ = row_of(
        head, 2, prompt=['a ', ImageSlot(), 'b', ImageSlot()], gt_caption='c')
    first, second = ids.index(IMAGE), len(ids) - ids[::-1].index(IMAGE) - 2
    # ###Human: a, then the image, then b with a blank of its own.
    assert ids[first - 3:first + 2] == [
        *ids_of('_', 'a', '_'), IMAGE, IMAGE]
    assert ids[first + 2:second] == ids_of('_', 'b')
    assert ids[second + 2:second + 5] == ids_of('_', '_###', 'A')


@pytest.mark.parametrize(
    'text', ['</s>', '<s>', '<unk>', '<ImageHere>', '<Img></Img>'])
def test_typed_marks_stay_text(head, text):
    ids, answer = row_of(head, 0, prompt=text, gt_caption=text)
    assert ids[0] == BOS
    assert not {0, 1, 2, IMAGE} & set(ids[1:] + answer)
    assert text in head.tokenizer.decode(ids)


@pytest.mark.parametrize('length', [2, 3, 4, 6, 7])
def test_truncation_keeps_the_end_sign(head, length):
    template = TEMPLATES['vicuna_v0']
    ids = tokenize_answer('abc red. abc', template, head.tokenizer, length)
    assert len(ids) <= length
    text = head.tokenizer.decode(ids)
    assert text.endswith('###')
    assert 'abc red. abc'.startswith(text[:-3])


def test_truncation_spends_its_room(head):
    template = TEMPLATES['vicuna_v0']
    assert tokenize_answer('abcdefgh', template, head.tokenizer, 6) == ids_of(
        '_', 'a', 'b', 'c', '##', '#')
    assert tokenize_answer('abc', TEMPLATES['llama2'], head.tokenizer,
                           3) == [*ids_of('_', 'a'), EOS]
    with pytest.raises(PromptError, match='max_txt_len=0'):
        tokenize_answer('abc', template, head.tokenizer, 0)


def test_an_empty_caption_trains_the_end_alone(head):
    _, answer = row_of(head, 1, gt_caption='')
    assert answer == ids_of('_###')


def test_the_first_of_several_answers_is_learnt(head):
    assert head.reader.target(sample(gt_answer=['a', 'b'])) == 'a'
    with pytest.raises(PromptError, match="'gt_caption'"):
        head.reader.target(sample(other='a'))


# ------------------------------------------------------------------ the loss


def test_the_loss_is_that_of_transformers_on_labels_by_hand(head, visual):
    samples = [
        sample(prompt='a red', gt_caption='fig.'),
        sample(prompt='abc', gt_caption='a red fig'),
        sample(bare=True, gt_caption='red')
    ]
    found = head.loss(visual[:3], samples)['loss']
    total, count = 0.0, 0
    table = head.llm.get_input_embeddings()
    for image, one in zip(visual, samples, strict=False):
        ids, template = head.prompt_encoder.prompt_ids(one, image[None])
        end = {'###': '###', '\n': '\n'}[template.end]
        answer = head.tokenizer.encode(one.gt_caption + end)
        before = ids.index(IMAGE)
        after = before + 3
        embeds = torch.cat([
            table(torch.tensor(ids[:before], dtype=torch.long)), image,
            table(torch.tensor(ids[after:] + answer, dtype=torch.long))
        ])[None]
        labels = torch.tensor([[-100] * len(ids) + answer])
        with torch.no_grad():
            loss = head.llm(inputs_embeds=embeds, labels=labels).loss
        total += float(loss) * len(answer)
        count += len(answer)
    assert found.item() == pytest.approx(total / count, abs=1e-5)


def test_padding_does_not_change_the_loss(head, visual):
    short = sample(prompt='a', gt_caption='a red fig')
    long = sample(prompt='a red ' * 9, gt_caption='a red fig')
    together = head.loss(visual[:2], [short, long])['loss'].item()
    alone = [
        head.loss(visual[i:i + 1], [one])['loss'].item()
        for i, one in enumerate([short, long])
    ]
    assert together == pytest.approx(sum(alone) / 2, abs=1e-5)


def test_the_gradient_reaches_the_visual_tokens_through_a_frozen_model(
        head, visual):
    head.llm.requires_grad_(False)
    tokens = visual[:1].clone().requires_grad_()
    head.loss(tokens, [sample(gt_caption='red')])['loss'].backward()
    assert tokens.grad.abs().sum() > 0
    assert all(p.grad is None for p in head.llm.parameters())


def test_logits_for_pieces_do_not_depend_on_padding(head, visual):
    short = [Mark.BOS, 'a', ImageSlot()]
    long = [Mark.BOS, ImageSlot(), 'a red red red', ImageSlot(), 'b']
    feats = [visual[:1], visual[1:3]]
    with torch.no_grad():
        logits, mask = head.logits(feats, [short, long])
        alone, _ = head.logits(feats[:1], [short])
    assert mask.sum(1).tolist() == [6, 14]
    assert torch.allclose(logits[0, -6:], alone[0], atol=1e-5)


# --------------------------------------------------------------- prediction


def test_a_batch_answers_as_single_calls_do(head, visual):

    def samples():
        return [
            sample(prompt='a'),
            sample(prompt=['red ', ImageSlot(), ' fig ', ImageSlot()]),
            sample(question='what is it in there'),
            sample(prompt='a red ' * 9),
            sample(bare=True),
        ]

    feats = [visual[:1], visual[1:3], visual[:0], visual[3:], visual[:1]]
    together = [s.pred_caption for s in head.predict(feats, samples())]
    alone = [
        head.predict([feat], [one])[0].pred_caption
        for feat, one in zip(feats, samples(), strict=True)
    ]
    assert together == alone
    assert len(set(together)) > 2


def test_a_folders_own_settings_do_not_leak(head, visual, llm_folder):
    assert json.loads((llm_folder / 'generation_config.json').read_text()
                      )['do_sample']
    first = head.answerer.generate(visual[:1], [sample(prompt='a')])[0]
    ids, _ = head.prompt_encoder.prompt_ids(sample(prompt='a'), visual[:1])
    table = head.llm.get_input_embeddings()
    before = ids.index(IMAGE)
    embeds = torch.cat([
        table(torch.tensor(ids[:before])), visual[0],
        table(torch.tensor(ids[before + 3:]))
    ])[None]
    by_hand = []
    with torch.no_grad():
        for _ in first.token_ids:
            by_hand.append(
                int(head.llm(inputs_embeds=embeds).logits[0, -1].argmax()))
            embeds = torch.cat([embeds, table(torch.tensor([by_hand[-1:]]))],
                               1)
    assert first.token_ids == by_hand
    assert len(by_hand) == 8 or by_hand[-1] == EOS or first.finish == 'stop'


def test_an_answer_stops_at_its_sign(head, visual):
    plan = [*ids_of('_red', '.', '##', '#', '_red')]

    steps = iter(plan)

    def follow(module, inputs, logits):
        wanted = torch.zeros_like(logits)
        wanted[..., next(steps)] = 1
        return wanted

    # The model, made to say what is planned, is stopped in time.
    hook = head.llm.lm_head.register_forward_hook(follow)
    answer = head.answerer.generate(visual[:1], [sample(prompt='a')])[0]
    hook.remove()
    assert answer[:3] == (plan[:4], 'red.', 'stop')


def test_each_task_writes_its_field(llm_folder, visual):
    head = VicunaHead(
        llm=str(llm_folder),
        task='vqa',
        question_template='Q: {question}',
        generation=dict(max_new_tokens=2))
    ids, _ = head.prompt_encoder.prompt_ids(sample(question='{a}'), visual[:1])
    assert 'Q: {a}' in head.tokenizer.decode(ids)
    found = head.predict(visual[:1], [sample(question='a')])
    assert isinstance(found[0].pred_answer, str)
    for wrong in (sample(), sample(question=' ')):
        with pytest.raises(PromptError, match='question'):
            head.predict(visual[:1], [wrong])


def test_without_samples_the_configs_prompt_is_used(head, visual):
    made = head.predict(visual[:2])
    given = head.predict(visual[:2], [
        sample(prompt='Describe this image in detail.') for _ in range(2)
    ])
    assert [s.pred_caption for s in made] == [s.pred_caption for s in given]


def test_a_conversation_is_answered(head, visual):
    turns = [('user', 'a'), ('assistant', 'b'), ('user', 'c')]
    ids, _ = head.prompt_encoder.prompt_ids(sample(conversation=turns),
                                            visual[:1])
    text = head.tokenizer.decode(ids)
    assert text.endswith('a###Assistant: b###Human: c###Assistant: ')
    head.predict(visual[:1], [sample(conversation=turns)])


def test_a_call_overrides_the_configs_decoding(head, visual):
    one = [sample(prompt='a')]
    assert len(head.answerer.generate(visual[:1], one)[0].token_ids) <= 8
    assert len(
        head.answerer.generate(visual[:1], one,
                               max_new_tokens=3)[0].token_ids) <= 3
    drawn = [
        head.answerer.generate(visual[:1], one, do_sample=True,
                               seed=seed)[0].text for seed in (1, 1, 2, 3)
    ]
    assert drawn[0] == drawn[1] and len(set(drawn)) > 1
    with pytest.raises(GenerationError, match='beams'):
        head.answerer.generate(visual[:1], one, beams=2)


@pytest.mark.parametrize('images, prompt', [
    (0, ['a ', ImageSlot()]),
    (2, ['a ', ImageSlot()]),
    (1, ['a']),
])
def test_images_and_slots_must_agree(head, visual, images, prompt):
    with pytest.raises(PromptError, match=f'the sample has {images}'):
        head.predict([visual[:images]], [sample(prompt=prompt)])


def test_a_prompt_beyond_the_context_names_both_numbers(head, visual):
    with pytest.raises(PromptError, match=r'100,\d{3}.*256'):
        head.predict(visual[:1], [sample(prompt='a' * 100_000)])
    with pytest.raises(PromptError, match='256'):
        head.loss(visual[:1], [sample(prompt='a' * 300, gt_caption='a')])
    # Old turns can be left out; what is asked last cannot.
    turns = [('user', 'a'), ('assistant', 'b')] * 500
    head.answerer.generate(visual[:1],
                           [sample(conversation=[*turns, ('user', 'c')])],
                           max_new_tokens=1)
    turns.append(('user', 'c' * 300))
    with pytest.raises(PromptError, match='256'):
        head.predict(visual[:1], [sample(conversation=turns)])


def test_a_null_byte_is_text(head, visual):
    ids, _ = head.prompt_encoder.prompt_ids(sample(prompt='a\x00b'),
                                            visual[:1])
    assert 'a\x00b' in head.tokenizer.decode(ids)


def test_samples_and_images_must_be_as_many(head, visual):
    with pytest.raises(PromptError, match='1 samples and the images of 2'):
        head.loss(visual[:2], [sample(gt_caption='a')])
