# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Quantised language models: smaller, about as right, and trained through."""

import copy
import sys
import weakref

import numpy as np
import pytest
import torch
from helpers.tiny_llm import LLAMA
from mmengine.config import Config
from mmpretrain.structures import DataSample
from torch import nn

from mmpretrain_minigpt4 import zoo
from mmpretrain_minigpt4.datasets.shapes import draw_scene
from mmpretrain_minigpt4.errors import ConfigError
from mmpretrain_minigpt4.llm.quantization import methods as quantization
from mmpretrain_minigpt4.llm.quantization.methods import (
    is_quantized,
    plain_tensors,
    quantize,
    weight_bytes,
)
from mmpretrain_minigpt4.models.heads import VicunaHead
from mmpretrain_minigpt4.ops import prepack
from mmpretrain_minigpt4.registry import MODELS

# Of the logits and of the projection's gradient, against float32.
TOLERANCE = {'int8': 0.02, 'int8-dynamic': 0.03, 'int4': 0.25}
METHODS = list(TOLERANCE)


def error(found, wanted):
    return ((found - wanted).norm() / wanted.norm()).item()


@pytest.fixture(scope='module')
def llm():
    """A LLaMA whose layers suit every kernel."""
    from transformers import LlamaConfig, LlamaForCausalLM
    torch.manual_seed(0)
    settings = dict(LLAMA, hidden_size=64, intermediate_size=128)
    settings.pop('model_type')
    llm = LlamaForCausalLM(LlamaConfig(**settings, initializer_range=0.05))
    return llm.eval().requires_grad_(False)


@pytest.fixture(scope='module', params=METHODS)
def method(request):
    return request.param


@pytest.fixture(scope='module')
def quantized(llm, method):
    return quantize(copy.deepcopy(llm), method)


@pytest.fixture
def embeds():
    return torch.randn(
        2, 9, 64, generator=torch.Generator().manual_seed(1)) * 0.2


def test_prepacked_weights_have_as_many_bytes(llm):
    twin = copy.deepcopy(llm).requires_grad_(False)
    before = weight_bytes(twin)
    prepack(twin)
    assert weight_bytes(twin) == before


def test_logits_stay_near(llm, quantized, method, embeds):
    with torch.no_grad():
        found = quantized(inputs_embeds=embeds).logits
        wanted = llm(inputs_embeds=embeds).logits
    assert 0 < error(found, wanted) < TOLERANCE[method]


def test_the_layers_take_the_bytes_that_the_planner_counts(
        llm, quantized, method):
    assert is_quantized(quantized) and not is_quantized(llm)
    assert not is_quantized(quantized.lm_head)
    of = quantization.METHODS[method]
    for name, layer in llm.model.layers.named_modules():
        if isinstance(layer, nn.Linear):
            bits = layer.out_features * (
                layer.in_features * of.bits + of.row_bits)
            found = quantized.model.layers.get_submodule(name)
            assert isinstance(found, nn.Linear)
            assert is_quantized(found)
            # In a CPU kernel's order, scales have 16 bits rather than 32.
            assert 0.94 * bits / 8 < weight_bytes(found) <= bits / 8
    assert weight_bytes(quantized.lm_head) == weight_bytes(llm.lm_head)


def test_no_unpacked_weight_waits_for_the_backward_pass(quantized, embeds):
    weights = {x.data_ptr() for x in plain_tensors(quantized)}
    kept = {}

    def note(tensor):
        if tensor.data_ptr() not in weights and tensor.dim() == 2:
            kept[tensor.data_ptr()] = tensor.shape
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
        quantized.model.layers[0].mlp(embeds.requires_grad_())
    shapes = {(64, 128), (128, 64)}
    assert not shapes & {tuple(shape) for shape in kept.values()}


def test_the_gradient_flows_before_and_after_answering(
        llm, quantized, method, embeds):

    def gradient(model):
        x = embeds.clone().requires_grad_()
        model(inputs_embeds=x).logits.square().sum().backward()
        return x.grad

    wanted = gradient(llm)
    first = gradient(quantized)
    assert error(first, wanted) < TOLERANCE[method]
    with torch.no_grad():  # may lay the weights out anew
        answer = quantized(inputs_embeds=embeds).logits
    torch.testing.assert_close(gradient(quantized), first)
    with torch.no_grad():
        again = quantized(inputs_embeds=embeds).logits
    torch.testing.assert_close(again, answer)
    torch.testing.assert_close(
        copy.deepcopy(quantized)(inputs_embeds=embeds).logits, answer,
        atol=0.02, rtol=0.02)


def test_bfloat16_goes_through_few_rows_and_many(llm, quantized, method):
    plain = copy.deepcopy(llm).bfloat16()
    model = copy.deepcopy(quantized).bfloat16()
    for rows in (1, 40):
        x = torch.randn(1, rows, 64, dtype=torch.bfloat16)
        with torch.no_grad():
            found = model(inputs_embeds=x).logits
            assert found.dtype == torch.bfloat16
            wanted = plain(inputs_embeds=x).logits
        assert error(found.float(), wanted.float()) < (
            TOLERANCE[method] + 0.02)


def test_the_projection_learns_through_it_as_through_float32(method):
    cfg = Config.fromfile(zoo.config_path('minigpt-4_tiny_stage2')).model
    images, samples = [], []
    for seed in range(4):
        scene = draw_scene(seed)
        images.append(torch.from_numpy(
            np.asarray(scene.image).copy()).permute(2, 0, 1) / 58 - 2)
        samples.append(DataSample())
        samples[-1].set_field(scene.description, 'gt_caption')
    images = nn.functional.interpolate(torch.stack(images), (64, 64))

    def loss_of(model):
        return model(images, samples, mode='loss')['loss']

    plain = MODELS.build(cfg)
    cfg.head.quantization = method
    small = MODELS.build(cfg).train()
    wanted, found = (
        torch.autograd.grad(loss_of(model), model.projector.parameters())[0]
        for model in (plain, small))
    # Four bits are few for a model of this size: its gradient points the
    # same way, roughly.
    likeness = nn.functional.cosine_similarity(
        found.flatten(), wanted.flatten(), dim=0)
    assert likeness > {'int8': 0.999, 'int8-dynamic': 0.99, 'int4': 0.5}[
        method]
    # And it trains, with the weights as they were.
    before = [x.clone() for x in plain_tensors(small.head)]
    optimizer = torch.optim.SGD(small.projector.parameters(), lr=0.1)
    losses = []
    for _ in range(4):
        optimizer.zero_grad()
        losses.append(loss_of(small))
        losses[-1].backward()
        optimizer.step()
    assert losses == sorted(losses, reverse=True)
    assert all(torch.equal(a, b) for a, b in zip(
        before, plain_tensors(small.head), strict=True))


def test_a_folder_is_quantised_as_it_is_read(llm_folder, method):
    head = VicunaHead(llm=str(llm_folder), quantization=method)
    plain = VicunaHead(llm=str(llm_folder))
    assert is_quantized(head.llm)
    assert weight_bytes(head.llm) < weight_bytes(plain.llm)
    with torch.device('meta'):  # for shapes alone
        assert not is_quantized(
            VicunaHead(llm=str(llm_folder), quantization=method).llm)


def test_each_weight_is_freed_before_the_next_is_quantised(
        llm, method, monkeypatch):
    seen = []
    make = quantization._MAKERS[method]

    def watching(linear, name):
        assert not [name for name, weight in seen if weight() is not None]
        seen.append((name, weakref.ref(linear.weight)))
        return make(linear, name)

    monkeypatch.setitem(quantization._MAKERS, method, watching)
    quantize(copy.deepcopy(llm), method)
    assert len(seen) == 14


def test_what_is_trained_is_not_quantised(tiny, images):
    tiny['freeze'] = ('backbone', 'neck')
    tiny['head']['quantization'] = 'int8'
    with pytest.raises(ConfigError, match='frozen'):
        MODELS.build(tiny)(images)


def test_an_unknown_name_and_an_absent_library_say_what_to_do(
        llm_folder, monkeypatch):
    with pytest.raises(ConfigError, match='known: none, int8'):
        VicunaHead(llm=str(llm_folder), quantization='int3')
    monkeypatch.setitem(sys.modules, 'bitsandbytes', None)
    with pytest.raises(ConfigError, match=r'\[quantize\]'):
        VicunaHead(llm=str(llm_folder), quantization='int4')


def test_odd_shapes_are_refused_by_name():
    odd = nn.Sequential(nn.Sequential(nn.Linear(7, 9)))
    with pytest.raises(ConfigError, match='9 x 7'):
        quantize(odd, 'int4')


def test_a_packed_layer_is_saved_as_an_unpacked_one_and_stays_packed(llm):
    model = quantize(copy.deepcopy(llm), 'int8-dynamic')
    packed = copy.deepcopy(model)
    if not prepack(packed.model.layers, [('q_proj', 'k_proj', 'v_proj')]):
        pytest.skip('this PyTorch or CPU has no 8-bit products')
    saved = model.state_dict()

    def check(found):
        assert set(found) == set(saved)
        for key, value in saved.items():
            assert torch.equal(found[key], value), key

    check(packed.state_dict())
    layer = packed.model.layers[0].mlp.down_proj
    assert layer.packed is not None
    packed.double()  # conversion lays weights out plainly again
    assert layer.packed is None
    check(packed.float().state_dict())
