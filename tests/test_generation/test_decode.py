# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Decoding a padded batch, against a loop written by hand."""

import pytest
import torch

from mmpretrain_minigpt4.errors import PromptError
from mmpretrain_minigpt4.generation import (
    SamplingParams,
    StopChecker,
    decode,
)

VOCAB, WIDTH, END = 24, 16, 2
TABLE = [b'', b'', b''] + [bytes([97 + i]) for i in range(VOCAB - 3)]


@pytest.fixture(scope='module')
def llm():
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM
    torch.manual_seed(1)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCAB,
            hidden_size=WIDTH,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=2,
            initializer_range=0.5)).eval()
    # What a folder may bring, and what must not leak.
    model.generation_config = GenerationConfig(
        do_sample=True, temperature=0.1, repetition_penalty=9.0, num_beams=3)
    return model


@pytest.fixture(scope='module')
def prompts():
    """Embeddings of prompts of different lengths."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(n, WIDTH, generator=generator) for n in (3, 7, 5, 1)]


def pad(prompts):
    longest = max(map(len, prompts))
    embeds = torch.zeros(len(prompts), longest, WIDTH)
    mask = torch.zeros(len(prompts), longest, dtype=torch.long)
    for i, prompt in enumerate(prompts):
        embeds[i, longest - len(prompt):] = prompt
        mask[i, longest - len(prompt):] = 1
    return embeds, mask


def stop_checker(*stops, end=(END, )):
    return StopChecker(TABLE, stops, end)


def by_hand(llm, prompt, number):
    """Greedy decoding without cache, padding or transformers' loop."""
    ids = []
    embeds = prompt[None]
    for _ in range(number):
        with torch.no_grad():
            ids.append(int(llm(inputs_embeds=embeds).logits[0, -1].argmax()))
        word = llm.get_input_embeddings()(torch.tensor([[ids[-1]]]))
        embeds = torch.cat([embeds, word], 1)
    return ids


def test_a_greedy_batch_equals_a_loop_written_by_hand(llm, prompts):
    options = SamplingParams(max_new_tokens=12)
    before = llm.generation_config.to_dict()
    found = decode(llm, *pad(prompts), options, stop_checker(end=()))
    for answer, prompt in zip(found, prompts, strict=True):
        assert answer.token_ids == by_hand(llm, prompt, 12)
        assert answer.finish == 'length'
    assert llm.generation_config.to_dict() == before


def test_rows_stop_one_by_one(llm, prompts):
    whole = [by_hand(llm, prompt, 12) for prompt in prompts]
    stop = chr(TABLE[whole[0][4]][0]) if whole[0][4] > 2 else 'a'
    options = SamplingParams(max_new_tokens=12, stops=(stop, ))
    found = decode(llm, *pad(prompts), options, stop_checker(stop, end=()))
    for answer, ids in zip(found, whole, strict=True):
        text = b''.join(TABLE[i] for i in ids).decode()
        assert answer.text == text.split(stop)[0]
        assert stop not in answer.text
        expected = ids
        for size in range(1, 13):
            if stop.encode() in [TABLE[i] for i in ids[:size]]:
                expected = ids[:size]
                break
        assert answer.token_ids == expected


@pytest.mark.parametrize('settings', [
    dict(num_beams=3),
    dict(num_beams=3, length_penalty=2.0),
    dict(repetition_penalty=1.5),
    dict(no_repeat_ngram_size=2),
])
def test_a_batch_equals_single_calls(llm, prompts, settings):
    options = SamplingParams(max_new_tokens=9, **settings)
    together = decode(llm, *pad(prompts), options, stop_checker('ab', 'q'))
    alone = [
        decode(llm, *pad([prompt]), options, stop_checker('ab', 'q'))[0]
        for prompt in prompts
    ]
    assert [a.text for a in together] == [a.text for a in alone]


def test_penalties_change_the_answer(llm, prompts):
    plain = decode(llm, *pad(prompts), SamplingParams(max_new_tokens=12),
                   stop_checker(end=()))
    options = SamplingParams(max_new_tokens=12, no_repeat_ngram_size=1)
    varied = decode(llm, *pad(prompts), options, stop_checker(end=()))
    assert all(len(set(a.token_ids)) == 12 for a in varied)
    assert plain != varied


def test_a_seed_repeats_and_leaves_the_random_state_alone(llm, prompts):

    def draw(seed, **settings):
        options = SamplingParams(
            max_new_tokens=12, do_sample=True, seed=seed, **settings)
        return decode(llm, *pad(prompts), options, stop_checker(end=()))

    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, second, other = draw(1), draw(1), draw(
        10**40)
    assert torch.equal(before, torch.get_rng_state())
    assert first == second != other
    assert draw(1, num_beams=2) == draw(1, num_beams=2)


def test_top_k_of_one_and_a_tiny_top_p_are_greedy(llm, prompts):
    greedy = decode(llm, *pad(prompts), SamplingParams(max_new_tokens=8),
                    stop_checker(end=()))
    for settings in (dict(top_k=1), dict(top_p=1e-6), dict(temperature=1e-3)):
        options = SamplingParams(
            max_new_tokens=8, do_sample=True, seed=0, **settings)
        assert decode(llm, *pad(prompts), options,
                      stop_checker(end=())) == greedy


def test_each_row_has_its_own_room_in_the_context(llm, prompts):
    options = SamplingParams(max_new_tokens=10**12)
    found = decode(llm,
                   *pad(prompts),
                   options,
                   stop_checker(end=()),
                   context=10)
    assert [len(a.token_ids) for a in found] == [7, 3, 5, 9]
    for answer, prompt in zip(found, prompts, strict=True):
        alone = decode(llm, *pad([prompt]), options, stop_checker(end=()),
                       10)[0]
        assert answer == alone


def test_a_prompt_that_fills_the_context_is_refused(llm, prompts):
    with pytest.raises(PromptError, match='has 7 tokens.*holds 7'):
        decode(llm, *pad(prompts), SamplingParams(), stop_checker(), context=7)
