# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""LinearProjector: its sizes, its keys, its ablation."""

import pytest
import torch
import torch.nn.functional as F

from mmpretrain_minigpt4.errors import ConfigError
from mmpretrain_minigpt4.models.necks import LinearProjector
from mmpretrain_minigpt4.registry import MODELS


@pytest.mark.parametrize(('inside', 'outside', 'number'), [
    (768, 4096, 3_149_824),
    (768, 5120, 3_937_280),
    (5632, 4096, 23_072_768),
])
def test_full_size_has_the_published_number_of_parameters(
        inside, outside, number):
    with torch.device('meta'):
        projector = LinearProjector(inside, outside)
    assert sum(p.numel() for p in projector.parameters()) == number


def test_one_layer_is_a_plain_linear_map():
    projector = LinearProjector(6, 8)
    x = torch.randn(2, 3, 6)
    layer = projector.layers[0]
    assert projector(x).equal(F.linear(x, layer.weight, layer.bias))
    assert list(projector.state_dict()) == ['layers.0.weight', 'layers.0.bias']


def test_three_layers_have_gelu_between_them():
    projector = LinearProjector(6, 8, num_layers=3, hidden_channels=5)
    x = torch.randn(2, 3, 6)
    first, second, third = (projector.layers[i] for i in (0, 2, 4))
    assert [x.out_features for x in (first, second, third)] == [5, 5, 8]
    expected = third(F.gelu(second(F.gelu(first(x)))))
    assert projector(x).equal(expected)


def test_it_is_built_from_a_config():
    projector = MODELS.build(
        dict(
            type='mmpretrain_minigpt4.LinearProjector',
            in_channels=6,
            out_channels=8))
    assert projector.out_channels == 8


def test_tokens_of_another_width_are_refused_with_the_mend():
    with pytest.raises(ConfigError, match="neck's output width"):
        LinearProjector(6, 8)(torch.zeros(1, 3, 7))
    with pytest.raises(ConfigError, match='1 or more'):
        LinearProjector(6, 8, num_layers=0)
