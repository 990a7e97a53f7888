# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Recordings of the eye show what it sees, of the images it is given."""

import copy
import pickle
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mmpretrain_minigpt4.generation import EngineConfig
from mmpretrain_minigpt4.models import graphed_vision
from mmpretrain_minigpt4.models.graphed_vision import (
    MOST,
    GraphedVisionEncoder,
    run_vision,
)
from mmpretrain_minigpt4.ops import cuda_graphs


class Backbone(nn.Linear):

    def forward(self, images):
        # float[B, 3, 2, 2] -> float[B, 12] -> float[B, 5]
        return (super().forward(images.flatten(1)), )


class Neck(nn.Linear):

    def forward(self, feats):
        return (super().forward(feats[-1]), )


class Vision(nn.Module):
    """The vision parts of a model, and what is asked of them."""
    device = torch.device('cpu')
    freeze = ('backbone', 'neck')

    def __init__(self):
        super().__init__()
        self.kernels = True
        self.backbone = Backbone(12, 5)
        self.neck = Neck(5, 2)
        self.head = SimpleNamespace(engine=EngineConfig(cuda_graphs=True))
        self.requires_grad_(False).eval()

@pytest.fixture
def model():
    torch.manual_seed(0)
    return Vision()


@pytest.fixture
def made(monkeypatch):
    """Graphs of a CPU that is taken for a GPU."""
    found = []

    def capture(function, pool):
        out = function()
        found.append(out)
        return lambda: out.copy_(function()), out

    monkeypatch.setattr(graphed_vision, 'replays', lambda device: True)
    monkeypatch.setattr(cuda_graphs, 'capture', capture)
    monkeypatch.setattr(cuda_graphs, 'new_pool', object)
    return found


def images(number):
    return torch.randn(number, 3, 2, 2)


def test_each_call_encodes_its_own_images(model, made):
    encoder, asked = GraphedVisionEncoder(), [images(n) for n in (2, 1, 2, 2)]
    found = [encoder.encode(model, x) for x in asked]
    for x, seen in zip(asked, found, strict=True):
        assert torch.equal(seen, run_vision(model, x))
    assert len(made) == 2  # one for each number of images


def test_new_weights_are_encoded_with(model, made):
    encoder, x = GraphedVisionEncoder(), images(2)
    encoder.encode(model, x)
    model.backbone.weight.copy_(torch.randn(5, 12))
    assert torch.equal(encoder.encode(model, x), run_vision(model, x))
    assert len(made) == 1  # in place, they are where they were
    model.neck.weight = nn.Parameter(torch.randn(2, 5), requires_grad=False)
    assert torch.equal(encoder.encode(model, x), run_vision(model, x))
    model.neck = Neck(5, 2).eval()
    assert torch.equal(encoder.encode(model, x), run_vision(model, x))
    assert len(made) == 3


@pytest.mark.parametrize('change', [
    lambda model: model.backbone.train(),
    lambda model: setattr(model, 'freeze', ('backbone', )),
    lambda model: setattr(model.head, 'engine', EngineConfig(cuda_graphs=False)
                          ),
    lambda model: setattr(model, 'head', None),
    lambda model: model.neck.register_forward_hook(lambda *args: None),
])
def test_what_may_change_from_call_to_call_is_not_captured(
        model, made, change):
    encoder = GraphedVisionEncoder()
    assert encoder.captures(model, images(MOST))
    assert not encoder.captures(model, images(MOST + 1))
    change(model)
    assert not encoder.captures(model, images(1))


def test_nothing_is_captured_on_a_cpu(model):
    assert not GraphedVisionEncoder().captures(model, images(1))


@pytest.mark.parametrize('again', [
    copy.deepcopy, lambda encoder: pickle.loads(pickle.dumps(encoder))])
def test_a_copy_begins_anew(model, made, again):
    encoder, x = GraphedVisionEncoder(), images(1)
    encoder.encode(model, x)
    assert torch.equal(
        again(encoder).encode(model, x), encoder.encode(model, x))
    assert len(made) == 2


@pytest.mark.gpu
def test_graphs_on_a_gpu_encode_as_plain_calls(model):
    model.cuda().device = torch.device('cuda')
    encoder = GraphedVisionEncoder()
    for number in (1, 3, 1):
        x = images(number).cuda()
        assert encoder.captures(model, x)
        torch.testing.assert_close(encoder.encode(model, x),
                                   run_vision(model, x))
