# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Each way of being faster can be switched off, and changes no result."""

import copy
import sys

import pytest
import torch
from mmpretrain.structures import DataSample

from mmpretrain_minigpt4.errors import PromptError
from mmpretrain_minigpt4.ops import can_prepack
from mmpretrain_minigpt4.ops.linear.prepacked import PrepackedLinear
from mmpretrain_minigpt4.ops.native import decode, instructions
from mmpretrain_minigpt4.registry import MODELS

SLOW = dict(use_fast_forward=False,
            enable_prefix_caching=False,
            kernels=False,
            max_num_seqs=1)


@pytest.fixture
def build(tiny):
    """Build the same model with other switches."""

    def build(engine=None, prepack=True, kernels=True, **head):
        settings = copy.deepcopy(tiny)
        settings['head'].update(engine=engine, **head)
        settings['prepack'], settings['kernels'] = prepack, kernels
        settings['data_preprocessor'] = dict(
            type='mmpretrain_minigpt4.ImageListPreprocessor', mean=[0.] * 3,
            std=[1.] * 3)
        torch.manual_seed(0)
        return MODELS.build(settings).eval()

    return build


@pytest.fixture
def images():
    torch.manual_seed(1)
    return torch.randn(5, 3, 28, 28)


def sample(**fields):
    new = DataSample()
    for key, value in fields.items():
        new.set_field(value, key)
    return new


def batches(images, prompts):
    """Collated batches of two, as a loader gives them."""
    for at in range(0, len(images), 2):
        yield dict(
            inputs=[x for x in images[at:at + 2]],
            data_samples=[sample(prompt=prompt, number=at + i)
                          for i, prompt in enumerate(prompts[at:at + 2])])


PROMPTS = ['a red fig', 'a', 'a red fig too', 'b' * 9, 'a red']


@pytest.mark.parametrize('engine', [
    None, SLOW,
    dict(use_fast_forward=False),
    dict(enable_prefix_caching=False),
    dict(kernels=False),
    dict(max_num_seqs=2),
    dict(prefill_wait_steps=0)
])
@pytest.mark.parametrize('prepack', [True, False])
def test_texts_are_the_same(build, images, engine, prepack):
    options = dict(max_new_tokens=12)
    plain = build(SLOW, False, False)
    expected = [
        plain(images[i:i + 1], [sample(prompt=prompt)], mode='predict',
              **options)[0].pred_caption
        for i, prompt in enumerate(PROMPTS)
    ]
    assert len(set(expected)) > 1
    model = build(engine, prepack, kernels=engine != SLOW)
    samples = [sample(prompt=prompt) for prompt in PROMPTS]
    model(images, samples, mode='predict', **options)
    assert [one.pred_caption for one in samples] == expected
    found = {}
    for one, error in model.generate_stream(batches(images, PROMPTS),
                                            **options):
        assert error is None
        found[one.number] = one.pred_caption
    assert [found[i] for i in range(5)] == expected
    packed = any(type(layer) is PrepackedLinear for layer in model.modules())
    assert packed == (prepack and can_prepack(torch.float32))


@pytest.mark.parametrize('engine', [None, dict(enable_prefix_caching=False)])
@pytest.mark.parametrize('prepack', [True, False])
def test_loss_gradient_and_scores_are_the_same(build, images, engine,
                                               prepack):
    found = []
    for model in (build(SLOW, False, False), build(engine, prepack)):
        model.train()
        samples = [
            sample(prompt=prompt, gt_caption='a red fig.'[i:],
                   candidates=['red', 'a red', 'blue'])
            for i, prompt in enumerate(PROMPTS)
        ]
        loss = model(images, samples, mode='loss')['loss']
        loss.backward()
        gradient = torch.cat(
            [p.grad.flatten() for p in model.projector.parameters()])
        model.eval()
        model(images, samples, mode='predict', max_new_tokens=1)
        scores = torch.tensor([one.candidate_scores for one in samples])
        found.append((loss.detach(), gradient, scores))
    for slow, fast in zip(*found, strict=True):
        torch.testing.assert_close(fast, slow, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(not instructions(),
                    reason='the kernels for CPUs are not compiled')
@pytest.mark.parametrize('vision', [True, False])
@pytest.mark.parametrize('engine', [True, False])
def test_kernels_are_used_unless_they_are_switched_off(
        build, images, monkeypatch, vision, engine):
    used = []
    # The package's own name for it is that of the function inside.
    of_images = sys.modules['mmpretrain_minigpt4.ops.attention']

    def count(where, name):
        function = getattr(where, name)
        monkeypatch.setattr(
            where, name, lambda *args: used.append(name) or function(*args))

    count(of_images, 'by_kernel')
    count(decode, 'decode_attention')
    model = build(dict(kernels=engine), kernels=vision)
    model(images)
    assert ('by_kernel' in used) == vision
    used.clear()
    model(images, [sample(prompt=p) for p in PROMPTS], mode='predict',
          max_new_tokens=3)
    assert ('decode_attention' in used) == engine


def test_equal_images_are_encoded_once(build, images):
    model, seen = build(), []
    model.backbone.register_forward_hook(
        lambda module, inputs, output: seen.append(len(inputs[0])))
    order = [0, 0, 1, 0, 2, 1, 2, 2]
    prompts = [f'a{i}' for i in range(8)]
    found = {
        one.number: one.pred_caption
        for one, _ in model.generate_stream(
            batches(images[order], prompts), max_new_tokens=6)
    }
    assert sum(seen) == 3
    expected = model(images[order], [sample(prompt=p) for p in prompts],
                     mode='predict', max_new_tokens=6)
    assert [found[i] for i in range(8)] == [
        one.pred_caption for one in expected]


def test_what_cannot_be_answered_comes_back_and_spares_the_others(build,
                                                                  images):
    model = build()
    prompts = ['a', 'b ' * 4000, 'a red', 'fig', 'c ' * 4000]
    found = {one.number: error
             for one, error in model.generate_stream(batches(images, prompts),
                                                     max_new_tokens=3)}
    assert [found[i] is None for i in range(5)] == [
        True, False, True, True, False]
    assert isinstance(found[1], PromptError)
    assert 'tokens with its images' in str(found[4])


def test_a_stream_gives_the_answer_in_pieces(build, images):
    model = build()
    feats = model(images[:1])
    pieces = list(
        model.head.answerer.generate_text(feats[0],
                                          sample(prompt='a red'),
                                          max_new_tokens=15))
    whole, = model.head.answerer.generate(feats, [sample(prompt='a red')],
                                          max_new_tokens=15)
    assert ''.join(pieces) == whole.text
    assert len(pieces) > 1


def test_a_type_for_weights_leaves_the_angles_of_positions_alone(build,
                                                                 images):
    model = build(dtype='bfloat16')
    model(images[:1], [sample(prompt='a')], mode='predict', max_new_tokens=1)
    rotary = model.head.llm.model.rotary_emb
    assert model.head.llm.dtype == torch.bfloat16
    assert rotary.inv_freq.dtype == torch.float32
    exact = build().head.llm.model.rotary_emb.inv_freq
    assert torch.equal(rotary.inv_freq, exact)
