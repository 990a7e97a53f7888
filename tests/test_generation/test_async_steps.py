# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Steps that are begun before earlier tokens are known change no answer."""

import pytest
import torch
from helpers.engine_llm import TABLE, request, requests

from mmpretrain_minigpt4.errors import GenerationError
from mmpretrain_minigpt4.generation import (
    Engine,
    EngineConfig,
    SamplingParams,
    StopChecker,
    answer_all,
)

CPU = torch.device('cpu')


def asynchronous(async_steps, **settings):
    return EngineConfig(async_steps=async_steps, **settings)


@pytest.mark.parametrize('async_steps', [1, 3])
@pytest.mark.parametrize('settings', [
    dict(max_num_seqs=2),
    dict(max_num_seqs=2, kernels=False),
    dict(max_num_seqs=7, prefill_wait_steps=0),
    dict(max_num_seqs=3, use_fast_forward=False)
])
def test_answers_are_those_of_steps_one_by_one(llm, prompts, async_steps,
                                               settings):
    options = SamplingParams(max_new_tokens=17, logprobs=True)
    asked = [
        one._replace(options=options.replace(max_new_tokens=1 + 5 * i % 17))
        for i, one in enumerate(requests(llm, prompts * 3, options, 'ab', 'q'))
    ]
    plain = answer_all(llm, asked)
    assert {answer.finish for answer in plain} == {'stop', 'length'}
    for found, expected in zip(answer_all(llm,
                                          asked,
                                          settings=asynchronous(
                                              async_steps, **settings)),
                               plain,
                               strict=True):
        assert found[:3] == expected[:3]
        # Rows differ in their neighbours, and sums in their order.
        assert found.logprobs == pytest.approx(expected.logprobs, abs=1e-5)


def test_rows_whose_next_token_hangs_on_the_last_are_waited_for(llm, prompts):
    plain = SamplingParams(max_new_tokens=11)
    kinds = [plain, plain.replace(repetition_penalty=1.6),
             plain.replace(no_repeat_ngram_size=2), plain,
             plain.replace(do_sample=True, seed=4, top_k=6)]
    asked = [request(llm, ids, kinds[i % 5], 'cd', tag=i)
             for i, ids in enumerate(prompts * 3)]
    expected = answer_all(llm, asked)
    assert answer_all(llm, asked,
                      settings=asynchronous(2, max_num_seqs=3)) == expected


def test_beams_are_as_they_were(llm, prompts):
    options = SamplingParams(max_new_tokens=9, num_beams=3)
    asked = requests(llm, prompts, options)
    assert answer_all(llm, asked,
                      settings=asynchronous(2)) == answer_all(llm, asked)


def test_pieces_come_late_and_are_all_there(llm, prompts):
    options = SamplingParams(max_new_tokens=12)
    asked = [one._replace(stream=True)
             for one in requests(llm, prompts, options, 'cd')]
    pieces = [''] * 7
    for event in Engine(llm, max_num_seqs=2,
                        settings=asynchronous(1)).run(asked):
        pieces[event.tag] += event.text
    assert pieces == [answer.text for answer in answer_all(llm, asked)]


def test_steps_for_nothing_are_few_and_counted(llm, prompts):
    # A row that reaches its limit when all others do is not stepped on.
    options = SamplingParams(max_new_tokens=6)
    asked = [one._replace(stop_checker=StopChecker(TABLE))
             for one in requests(llm, prompts[:3], options)]
    engine = Engine(llm, max_num_seqs=3, settings=asynchronous(2))
    list(engine.run(asked))
    assert (engine.stats.steps, engine.stats.wasted_steps) == (5, 0)
    uneven = [one._replace(options=options.replace(max_new_tokens=3 + i % 4))
              for i, one in enumerate(asked * 4)]
    engine = Engine(llm, max_num_seqs=2, settings=asynchronous(2))
    list(engine.run(uneven))
    assert 0 < engine.stats.wasted_steps <= 2 * 12
    assert engine.stats.occupancy < 1


def test_a_cancelled_row_leaves_and_what_is_on_its_way_is_dropped(
        llm, prompts):
    options = SamplingParams(max_new_tokens=30)
    asked = [one._replace(stream=True, stop_checker=StopChecker(TABLE))
             for one in requests(llm, prompts[:3], options)]
    whole = answer_all(llm, asked)
    engine, found = Engine(llm, max_num_seqs=3, settings=asynchronous(2)), {}
    for number, event in enumerate(engine.run(asked)):
        if number == 9:
            engine.cancel(1)
        if event.answer:
            found[event.tag] = event.answer
    assert found[1].finish == 'cancelled'
    generated = found[1].token_ids
    assert 0 < len(
        generated) < 30 and generated == whole[1].token_ids[:len(generated)]
    assert [found[0], found[2]] == [whole[0], whole[2]]


def test_a_run_that_was_left_leaves_nothing_on_its_way(llm, prompts):
    options = SamplingParams(max_new_tokens=9)
    engine = Engine(llm, max_num_seqs=3, settings=asynchronous(2))
    asked = requests(llm, prompts[:3], options)
    run = engine.run([one._replace(stream=True) for one in asked])
    next(run)
    run.close()
    found = {event.tag: event.answer for event in engine.run(asked)}
    assert [found[i] for i in range(3)] == answer_all(llm, asked)


def test_a_longer_talk_takes_over_what_was_said(llm, prompts):
    options = SamplingParams(max_new_tokens=5)
    engine, talk = Engine(llm, max_num_seqs=1,
                          settings=asynchronous(2)), list(prompts[2])
    for _ in range(3):
        asked = request(llm, talk, options, 'a')
        answer, = (event.answer for event in engine.run([asked]))
        assert answer == answer_all(llm, [asked])[0]
        talk += answer.token_ids + [5, 9, 11]
    assert engine.stats.cached_tokens > 2 * len(prompts[2])


def test_nothing_is_begun_ahead_on_a_cpu():
    assert EngineConfig().async_steps_on(CPU) == 0
    assert EngineConfig().async_steps_on(torch.device('cuda')) == 1
    with pytest.raises(GenerationError,
                       match='async_steps must be at least'):
        EngineConfig(async_steps=-1)
