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
from mmpretrain_minigpt4.models import graphed_vision as recorded
from mmpretrain_minigpt4.models.graphed_vision import (
    MOST,
    GraphedVisionEncoder,
)
from mmpretrain_minigpt4.ops import cuda_graphs


class Eye(nn.Module):
    """The least that looks like the whole model."""
    device = torch.device('cpu')
    freeze = ('backbone', 'neck')

    def __init__(self):
        super().__init__()
        self.backbone = nn.Linear(12, 5)
        self.neck = nn.Linear(5, 2)
        self.head = SimpleNamespace(engine=EngineConfig(cuda_graphs=True))
        self.requires_grad_(False).eval()

    def _look(self, images):
        # float[B, 3, 2, 2] -> float[B, 12] -> float[B, 2]
        return (self.neck(self.backbone(images.flatten(1))), )


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Eye()


@pytest.fixture
def made(monkeypatch):
    """Recordings of a CPU that takes itself for a GPU."""
    found = []

    def capture(function, pool):
        out = function()
        found.append(out)
        return lambda: out.copy_(function()), out

    monkeypatch.setattr(recorded, 'replays', lambda device: True)
    monkeypatch.setattr(cuda_graphs, 'capture', capture)
    monkeypatch.setattr(cuda_graphs, 'new_pool', object)
    return found


def images(number):
    return torch.randn(number, 3, 2, 2)


def test_each_call_gets_its_own_images_seen(model, made):
    eye, asked = GraphedVisionEncoder(), [images(n) for n in (2, 1, 2, 2)]
    found = [eye(model, x) for x in asked]
    for x, seen in zip(asked, found, strict=True):
        assert torch.equal(seen, model._look(x)[-1])
    assert len(made) == 2  # one for each number of images


def test_new_weights_are_seen_with(model, made):
    eye, x = GraphedVisionEncoder(), images(2)
    eye(model, x)
    model.backbone.weight.copy_(torch.randn(5, 12))
    assert torch.equal(eye(model, x), model._look(x)[-1])
    assert len(made) == 1  # in place, they are where they were
    model.neck.weight = nn.Parameter(torch.randn(2, 5), requires_grad=False)
    assert torch.equal(eye(model, x), model._look(x)[-1])
    model.neck = nn.Linear(5, 2)
    assert torch.equal(eye(model, x), model._look(x)[-1])
    assert len(made) == 3


@pytest.mark.parametrize('change', [
    lambda model: model.backbone.train(),
    lambda model: setattr(model, 'freeze', ('backbone', )),
    lambda model: setattr(model.head, 'engine', EngineConfig(cuda_graphs=False)
                          ),
    lambda model: setattr(model, 'head', None),
    lambda model: model.neck.register_forward_hook(lambda *args: None),
])
def test_what_may_change_from_call_to_call_is_not_recorded(
        model, made, change):
    eye = GraphedVisionEncoder()
    assert eye.records(model, images(MOST))
    assert not eye.records(model, images(MOST + 1))
    change(model)
    assert not eye.records(model, images(1))


def test_nothing_is_recorded_on_a_cpu(model):
    assert not GraphedVisionEncoder().records(model, images(1))


@pytest.mark.parametrize('again', [
    copy.deepcopy, lambda eye: pickle.loads(pickle.dumps(eye))])
def test_a_copy_begins_anew(model, made, again):
    eye, x = GraphedVisionEncoder(), images(1)
    eye(model, x)
    assert torch.equal(again(eye)(model, x), eye(model, x))
    assert len(made) == 2


@pytest.mark.gpu
def test_recordings_on_a_gpu_show_what_is_seen(model):
    model.cuda().device = torch.device('cuda')
    eye = GraphedVisionEncoder()
    for number in (1, 3, 1):
        x = images(number).cuda()
        assert eye.records(model, x)
        torch.testing.assert_close(eye(model, x), model._look(x)[-1])
