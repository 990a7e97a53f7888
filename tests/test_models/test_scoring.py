# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Candidates are as likely as the loss on them says."""

import pytest
import torch
from mmpretrain.structures import DataSample

from mmpretrain_minigpt4.errors import PromptError
from mmpretrain_minigpt4.registry import MODELS

CANDIDATES = ['red', 'a dog is here', 'Is']


@pytest.fixture
def model(tiny):
    tiny['head']['task'] = 'vqa'
    tiny['head']['generation'] = dict(max_new_tokens=1)
    torch.manual_seed(0)
    return MODELS.build(tiny).eval()


def ask(candidates, question='a dog?'):
    sample = DataSample()
    sample.set_field(question, 'question')
    if candidates:
        sample.set_field(candidates, 'candidates')
    return sample


def test_scores_are_mean_log_probabilities_of_the_candidates(model):
    images = torch.randn(2, 3, 28, 28)
    found = model(images, [ask(CANDIDATES), ask(None)], mode='predict')
    scores = found[0].get('candidate_scores')
    assert found[1].get('candidate_scores') is None
    assert found[0].get('pred_answer') is not None
    # Worked out again without batch or padding, from all logits.
    feats = model.extract_feat(images[:1])
    tokenizer = model.head.tokenizer
    ids, _ = model.head.prompt_encoder.prompt_ids(ask(None), feats)
    table = model.head.llm.get_input_embeddings()
    from mmpretrain_minigpt4.models.heads.rows import IMAGE_ID
    for text, score in zip(CANDIDATES, scores, strict=True):
        answer = tokenizer.encode(text)
        row = torch.tensor([ids + answer])
        embeds = table(row.clamp(min=0))
        embeds[row == IMAGE_ID] = feats[0]
        with torch.no_grad():
            logits = model.head.llm(inputs_embeds=embeds).logits[0]
        chances = logits.log_softmax(-1)[len(ids) - 1:-1]
        wanted = chances[range(len(answer)), answer].mean()
        assert score == pytest.approx(wanted.item(), abs=1e-4)


def test_an_answer_is_greedy_only_if_each_of_its_tokens_is_likeliest(model):
    favoured = model.head.tokenizer.encode('red red')
    assert len(set(favoured)) == 1

    def favour(module, inputs, logits):
        logits[..., favoured[0]] += 100
        return logits

    model.head.llm.get_output_embeddings().register_forward_hook(favour)
    feats = model.extract_feat(torch.randn(1, 3, 28, 28))
    asked = ask(['red', 'red red', 'red dog', 'dog red', 'Is'])
    scores = model.head.answerer.score(
        feats, asked)
    assert [score.greedy for score in scores] == [
        True, True, False, False, False]
    assert scores[0].mean == pytest.approx(0, abs=1e-3)


def test_an_empty_candidate_is_refused(model):
    with pytest.raises(PromptError, match='candidate answer is empty'):
        model(torch.randn(1, 3, 28, 28), [ask(['red', ' '])], mode='predict')
