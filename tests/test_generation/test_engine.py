# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The engine, beside transformers' own decoding and beside itself."""

import itertools

import pytest
import torch
from helpers.engine_llm import END, TABLE, build, request, requests

from mmpretrain_minigpt4.errors import GenerationError
from mmpretrain_minigpt4.generation import (
    Engine,
    EngineConfig,
    Prompt,
    SamplingParams,
    StopChecker,
    answer_all,
    answer_stream,
)
from mmpretrain_minigpt4.generation.hf_decoder import HFDecoder
from mmpretrain_minigpt4.generation.llama_decoder import LlamaDecoder


def by_transformers(llm, ids, options):
    from transformers import GenerationConfig
    embeds = llm.get_input_embeddings()(torch.tensor([ids])).detach()
    config = GenerationConfig(
        max_new_tokens=options.max_new_tokens,
        num_beams=options.num_beams,
        length_penalty=options.length_penalty,
        repetition_penalty=options.repetition_penalty,
        no_repeat_ngram_size=options.no_repeat_ngram_size,
        do_sample=False,
        eos_token_id=END,
        pad_token_id=END)
    found = llm.generate(
        inputs_embeds=embeds,
        attention_mask=torch.ones(1, len(ids), dtype=torch.long),
        generation_config=config)[0].tolist()
    return found[:found.index(END) + 1] if END in found else found


@pytest.mark.parametrize('engine', [
    dict(), dict(kernels=False), dict(use_fast_forward=False)])
@pytest.mark.parametrize('settings', [
    dict(),
    dict(repetition_penalty=1.7),
    dict(no_repeat_ngram_size=2),
    dict(num_beams=2),
    dict(num_beams=4),
    dict(num_beams=4, length_penalty=0.0),
    dict(num_beams=4, length_penalty=-1.0),
    dict(num_beams=3, length_penalty=2.0, repetition_penalty=1.3),
    dict(num_beams=3, no_repeat_ngram_size=2),
    dict(num_beams=20),
])
def test_tokens_equal_those_of_transformers(llm, prompts, settings, engine):
    options = SamplingParams(max_new_tokens=14, **settings)
    found = answer_all(
        llm, requests(llm, prompts, options),
        settings=EngineConfig(max_num_seqs=3, **engine))
    expected = [by_transformers(llm, ids, options) for ids in prompts]
    assert [answer.token_ids for answer in found] == expected
    # Some end by themselves and some do not, or little would be shown.
    assert len({len(ids) for ids in expected}) > 1 or 'repeat' in str(settings)


@pytest.mark.parametrize('kind, settings', [
    ('llama', dict(num_key_value_heads=2)),
    ('llama', dict(attention_bias=True, head_dim=6)),
    ('llama', dict(rope_parameters=dict(
        rope_type='llama3', factor=8.0, low_freq_factor=1.0,
        high_freq_factor=4.0, original_max_position_embeddings=16,
        rope_theta=100.0))),
    ('mistral', dict(num_key_value_heads=2, sliding_window=None)),
    ('qwen2', dict(num_key_value_heads=4)),
])
def test_the_family_takes_the_fast_way_and_agrees(prompts, kind, settings):
    llm = build(kind, **settings)
    engine = Engine(llm, max_num_seqs=2)
    assert isinstance(engine.decoder, LlamaDecoder)
    options = SamplingParams(max_new_tokens=10)
    expected = [by_transformers(llm, ids, options) for ids in prompts]
    for kernels in (True, False):
        found = answer_all(llm, requests(llm, prompts, options),
                           settings=EngineConfig(kernels=kernels))
        assert [answer.token_ids for answer in found] == expected


@pytest.mark.parametrize('kind, settings', [
    ('gpt2', dict(n_embd=16, n_layer=2, n_head=2, n_positions=64)),
    ('opt', dict(ffn_dim=24, word_embed_proj_dim=16,
                 max_position_embeddings=64)),
    ('mistral', dict(num_key_value_heads=4, sliding_window=5)),
    ('llama', dict(rope_parameters=dict(rope_type='dynamic', factor=2.0,
                                        rope_theta=100.0))),
])
@pytest.mark.parametrize('num_beams', [1, 3])
def test_others_take_the_general_way_and_agree(prompts, kind, settings,
                                               num_beams):
    llm = build(kind, **settings)
    engine = Engine(llm, max_num_seqs=2)
    assert isinstance(engine.decoder, HFDecoder)
    options = SamplingParams(max_new_tokens=8, num_beams=num_beams)
    found = answer_all(llm, requests(llm, prompts, options),
                       settings=EngineConfig(max_num_seqs=3))
    assert [answer.token_ids for answer in found] == [
        by_transformers(llm, ids, options) for ids in prompts
    ]


@torch.no_grad()
@pytest.mark.parametrize('enable_prefix_caching', [True, False])
@pytest.mark.parametrize('kernels', [True, False])
def test_logits_equal_those_of_the_whole_text(llm, prompts,
                                              enable_prefix_caching, kernels):
    decoder = LlamaDecoder(llm,
                           max_num_seqs=len(prompts),
                           enable_prefix_caching=enable_prefix_caching,
                           kernels=kernels)
    generated = [list(ids) for ids in prompts]
    embeds = llm.get_input_embeddings()
    logits = decoder.prefill(
        [Prompt(embeds(torch.tensor(ids)), tuple(ids)) for ids in generated])
    for _ in range(5):
        for ids, row in zip(generated, logits, strict=True):
            expected = llm(torch.tensor([ids])).logits[0, -1]
            torch.testing.assert_close(row, expected, rtol=1e-5, atol=1e-5)
        tokens = logits.argmax(-1)
        for ids, token in zip(generated, tokens.tolist(), strict=True):
            ids.append(token)
        logits = decoder.step(tokens.unsqueeze(1))[:, 0]
    assert (decoder.num_cached_tokens > 0) == enable_prefix_caching


@pytest.mark.parametrize('max_num_seqs', [1, 2, 7])
@pytest.mark.parametrize('prefill_wait_steps', [0, 4])
def test_slots_and_sharing_change_no_text(llm, prompts, max_num_seqs,
                                          prefill_wait_steps):
    options = SamplingParams(max_new_tokens=20)
    many = prompts * 3
    plain = answer_all(
        llm, requests(llm, many, options, 'ab', 'q'),
        settings=EngineConfig(use_fast_forward=False))
    for enable_prefix_caching, kernels in itertools.product((True, False),
                                                            repeat=2):
        found = answer_all(llm,
                           requests(llm, many, options, 'ab', 'q'),
                           settings=EngineConfig(max_num_seqs,
                                                 True,
                                                 enable_prefix_caching,
                                                 prefill_wait_steps,
                                                 kernels=kernels))
        assert found == plain


def test_a_free_slot_is_filled_at_once(llm, prompts):
    # Without ends, lengths are what the requests ask for.
    lengths = [3, 40, 5, 8, 30, 2, 9, 4, 6, 25, 3, 7] * 4
    asked = [
        request(llm, prompts[i % 7], SamplingParams(max_new_tokens=length),
                tag=i)._replace(stop_checker=StopChecker(TABLE))
        for i, length in enumerate(lengths)
    ]
    engine = Engine(llm, max_num_seqs=4)
    events = [event for event in engine.run(asked) if event.answer]
    assert sorted(event.tag for event in events) == list(range(48))
    for event in events:
        assert len(event.answer.token_ids) == lengths[event.tag]
    assert engine.stats.occupancy >= 0.9
    # First come, first served: nobody enters before those ahead, so a short
    # one can overtake only those that run.
    order = [event.tag for event in events]
    assert all(order.index(i) < order.index(i + 12) + 8 for i in range(36))


def test_requests_are_taken_only_as_slots_are_free(llm, prompts):
    taken = []

    def source():
        for i, ids in enumerate(prompts * 2):
            taken.append(i)
            yield request(llm, ids, SamplingParams(max_new_tokens=6),
                          tag=i)

    events = answer_stream(llm,
                           source(),
                           settings=EngineConfig(max_num_seqs=2))
    next(events)
    assert len(taken) <= 4
    list(events)
    assert len(taken) == 14


def test_pieces_of_a_stream_make_the_answer(llm, prompts):
    options = SamplingParams(max_new_tokens=12)
    asked = [request(llm, ids, options, 'cd', tag=i, stream=True)
             for i, ids in enumerate(prompts)]
    pieces, answers = [''] * 7, [None] * 7
    for event in answer_stream(llm, asked):
        pieces[event.tag] += event.text
        if event.answer:
            answers[event.tag] = event.answer
    assert pieces == [answer.text for answer in answers]
    assert answers == answer_all(llm, asked)
    assert any(len(text) > 2 for text in pieces)


def test_a_cancelled_row_leaves_and_the_others_stay(llm, prompts):
    options = SamplingParams(max_new_tokens=30)
    asked = [r._replace(stream=True, stop_checker=StopChecker(TABLE))
             for r in requests(llm, prompts[:3], options)]
    whole = answer_all(llm, asked)
    engine, found = Engine(llm, max_num_seqs=3), {}
    for number, event in enumerate(engine.run(asked)):
        if number == 9:
            engine.cancel(1)
        if event.answer:
            found[event.tag] = event.answer
    assert found[1].finish == 'cancelled'
    assert 0 < len(found[1].token_ids) < 30
    assert whole[1].text.startswith(found[1].text)
    assert [found[0], found[2]] == [whole[0], whole[2]]


def test_an_engine_is_clean_after_a_run_was_left(llm, prompts):
    options = SamplingParams(max_new_tokens=9)
    engine = Engine(llm, max_num_seqs=3)
    asked = requests(llm, prompts[:3], options)
    run = engine.run([r._replace(stream=True) for r in asked])
    next(run)
    run.close()
    found = {event.tag: event.answer for event in engine.run(asked)}
    assert [found[i] for i in range(3)] == answer_all(llm, asked)


def test_a_longer_talk_reads_only_what_is_new(llm, prompts):
    options = SamplingParams(max_new_tokens=5)
    engine = Engine(llm, max_num_seqs=1)
    talk = list(prompts[2])
    for _ in range(4):
        asked = request(llm, talk, options)
        before = engine.stats.prefill_tokens
        answer, = (event.answer for event in engine.run([asked]))
        assert answer == answer_all(
            llm, [asked], settings=EngineConfig(use_fast_forward=False))[0]
        first = len(talk) == len(prompts[2])
        # The last token of an answer was chosen, but never read.
        assert engine.stats.prefill_tokens - before == (16 if first else 4)
        talk += answer.token_ids + [5, 9, 11]


def test_log_probabilities_are_those_of_the_model(llm, prompts):
    options = SamplingParams(
        max_new_tokens=8, logprobs=True, repetition_penalty=1.5)
    for answer, ids in zip(
            answer_all(llm, requests(llm, prompts, options)), prompts,
            strict=True):
        whole = torch.tensor([ids + answer.token_ids])
        with torch.no_grad():
            chances = llm(whole).logits[0].log_softmax(-1)
        expected = [
            float(chances[len(ids) - 1 + i, token])
            for i, token in enumerate(answer.token_ids)
        ]
        assert answer.logprobs == pytest.approx(expected, abs=1e-4)


def test_a_draw_does_not_depend_on_the_neighbours(llm, prompts):
    options = SamplingParams(
        max_new_tokens=12, do_sample=True, seed=3, temperature=1.3,
        top_p=0.9, top_k=12)
    asked = requests(llm, prompts, options)
    together = answer_all(llm, asked)
    assert together == [answer_all(llm, [one])[0] for one in asked]


def test_draws_follow_the_chances(llm, prompts):
    with torch.no_grad():
        chances = llm(torch.tensor([prompts[0]])).logits[0, -1].softmax(-1)
    asked = [
        request(llm, prompts[0], SamplingParams(
            max_new_tokens=1, do_sample=True, seed=seed, top_k=3))
        for seed in range(600)
    ]
    found = [answer.token_ids[0] for answer in answer_all(llm, asked)]
    best = chances.topk(3)
    assert set(found) <= set(best.indices.tolist())
    for token, chance in zip(*(x.tolist() for x in (best.indices,
                                                    best.values)),
                             strict=True):
        share = chance / float(best.values.sum())
        assert found.count(token) / 600 == pytest.approx(share, abs=0.08)


def test_what_cannot_be_is_refused(llm, prompts):
    engine = Engine(llm, max_num_seqs=1)
    for settings, message in ((dict(num_beams=2), '1 beams a row.*for 2'), ):
        options = SamplingParams(**settings)
        with pytest.raises(GenerationError, match=message):
            list(engine.run([request(llm, prompts[0], options)]))
    with pytest.raises(GenerationError, match='cannot be streamed'):
        answer_all(llm, [request(llm, prompts[0], SamplingParams(
            num_beams=2), stream=True)])
    with pytest.raises(GenerationError, match='num_beams=1 only'):
        answer_all(llm, [request(llm, prompts[0], SamplingParams(
            num_beams=2, logprobs=True))])
    with pytest.raises(GenerationError,
                       match='max_num_seqs must be at least'):
        EngineConfig(max_num_seqs=0)
