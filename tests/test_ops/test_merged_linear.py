# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Weights side by side: one product, and nothing else is different."""

import copy

import pytest
import torch
from torch import nn

from mmpretrain_minigpt4.ops import fused_linears, merge, merged_linear
from mmpretrain_minigpt4.ops.linear.merged import unmerge

NAMES = (('q', 'k', 'v'), )


@pytest.fixture
def parent():
    torch.manual_seed(0)
    part = nn.Module()
    part.q, part.k = nn.Linear(6, 4), nn.Linear(6, 3, bias=False)
    part.v = nn.Linear(6, 5)
    return part.requires_grad_(False)


def layers(part):
    return [part.q, part.k, part.v]


def is_joined(part):
    return merged_linear(layers(part), torch.ones(1, 6)) is not None


def test_one_product_gives_what_three_give(parent):
    x = torch.randn(2, 7, 6)
    alone = fused_linears(layers(parent), x)
    assert merge(parent, NAMES) == 3
    merged = merged_linear(layers(parent), x)
    torch.testing.assert_close(merged, torch.cat(alone, -1))
    for found, expected in zip(fused_linears(layers(parent), x), alone,
                               strict=True):
        torch.testing.assert_close(found, expected)
    assert merge(parent, NAMES) == 0  # once is enough


def test_they_can_be_multiplied_apart_to_compare(parent):
    merge(parent, NAMES)
    with unmerge(parent):
        assert not is_joined(parent)
    assert is_joined(parent)


def test_nothing_is_held_twice(parent):
    merge(parent, NAMES)
    stores = {x.weight.untyped_storage().data_ptr() for x in layers(parent)}
    assert len(stores) == 1
    assert parent.q.weight.untyped_storage().nbytes() == 12 * 6 * 4


def test_the_gradient_of_the_input_flows_through(parent):
    x = torch.randn(3, 6, requires_grad=True)
    sum(y.square().sum() for y in fused_linears(layers(parent), x)).backward()
    expected, x.grad = x.grad, None
    merge(parent, NAMES)
    sum(y.square().sum() for y in fused_linears(layers(parent), x)).backward()
    torch.testing.assert_close(x.grad, expected)


def test_files_hold_what_they_held(parent, tmp_path):
    from safetensors.torch import load_file, save_file
    before = {key: x.clone() for key, x in parent.state_dict().items()}
    merge(parent, NAMES)
    state = parent.state_dict()
    assert list(state) == list(before)
    save_file(state, tmp_path / 'a.safetensors')
    torch.save(state, tmp_path / 'a.pth')
    for found in (state, load_file(tmp_path / 'a.safetensors'),
                  torch.load(tmp_path / 'a.pth')):
        for key, x in before.items():
            assert torch.equal(found[key], x)


def test_what_is_loaded_is_what_is_multiplied(parent):
    merge(parent, NAMES)
    fresh = {key: torch.randn_like(x)
             for key, x in parent.state_dict().items()}
    parent.load_state_dict(fresh)
    assert is_joined(parent)
    x = torch.randn(2, 6)
    torch.testing.assert_close(
        merged_linear(layers(parent), x)[:, 4:7], x @ fresh['k.weight'].t())


@pytest.mark.parametrize('change', [
    lambda part: part.double(),
    copy.deepcopy,
    lambda part: setattr(part.k, 'weight', nn.Parameter(
        torch.randn(3, 6), requires_grad=False)),
    lambda part: part.k.weight.requires_grad_(True),
])
def test_layers_that_were_changed_are_apart_again(parent, change):
    merge(parent, NAMES)
    found = change(parent)
    found = found if isinstance(found, nn.Module) and hasattr(
        found, 'q') else parent
    x = torch.randn(2, 6, dtype=found.q.weight.dtype)
    assert merged_linear(layers(found), x) is None
    for y, layer in zip(fused_linears(layers(found), x), layers(found),
                        strict=True):
        torch.testing.assert_close(y, layer(x))


def test_what_is_trained_shared_or_of_another_kind_stays_apart(parent):
    parent.k.weight.requires_grad_(True)
    assert merge(parent, NAMES) == 0
    parent.k.weight.requires_grad_(False)
    parent.other = nn.Linear(6, 3, bias=False)
    parent.other.weight = parent.k.weight
    assert merge(parent, NAMES) == 0
    parent.other = None
    parent.k.half()
    assert merge(parent, NAMES) == 0
    assert not is_joined(parent)


def test_a_language_model_is_saved_as_it_was(tmp_path):
    from transformers import AutoConfig, AutoModelForCausalLM

    from mmpretrain_minigpt4.llm.llama import FUSED_GROUPS
    config = AutoConfig.for_model(
        'llama', vocab_size=24, hidden_size=16, intermediate_size=24,
        num_hidden_layers=2, num_attention_heads=4)
    llm = AutoModelForCausalLM.from_config(config).requires_grad_(False)
    before = {key: x.clone() for key, x in llm.state_dict().items()}
    assert merge(llm, FUSED_GROUPS) == 10
    llm.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path).state_dict()
    assert list(again) == list(before)
    assert all(torch.equal(again[key], x) for key, x in before.items())
