# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Limits from shapes, against what was worked out by hand for the 7B model.

Ceilings are those seen on an H100: 3.0 TB/s and 798 TFLOP/s.
"""

import pytest
import torch
from benchmark.dims import DIMS, get_dims, our_config
from benchmark.roofline import Ceilings, Limits

from mmpretrain_minigpt4.errors import ConfigError
from mmpretrain_minigpt4.registry import MODELS


@pytest.fixture
def limits():
    return Limits(DIMS['7b'], Ceilings(798e12, 3.0e12, 'bfloat16'))


def test_an_image_costs_534_gflop_and_a_token_13(limits):
    assert limits.vision_flops() / 1e9 == pytest.approx(533.7, abs=0.1)
    weights = limits.layer_weights + limits.head_weights
    assert 2 * weights / 1e9 == pytest.approx(13.2, abs=0.05)
    assert limits.cache_bytes == 512 * 1024


def test_a_single_row_cannot_be_decoded_faster_than_weights_are_read(limits):
    step = limits.step(1, 0)
    assert step.by == 'memory'
    assert 1 / step.seconds == pytest.approx(227, abs=0.5)
    assert limits.step(256, 132).seconds == pytest.approx(10.3e-3, rel=0.01)
    int8 = Limits(limits.dims, limits.ceilings, weight_bytes=1)
    assert 1 / int8.step(1, 0).seconds == pytest.approx(454, abs=1)


def test_whole_captions_are_limited_by_all_their_parts(limits):
    assert limits.caption(1, 100, 1).seconds == pytest.approx(5.1e-3, rel=0.01)
    assert limits.caption(1, 100, 64).seconds == pytest.approx(0.284, rel=0.01)
    for rows, images in ((8, 26), (32, 80), (128, 169), (256, 207)):
        found = rows / limits.caption(rows, 100, 64).seconds
        assert found == pytest.approx(images, rel=0.01)


def test_training_needs_no_gradient_of_frozen_weights(limits):
    stage1 = limits.training(256, 47, 15)
    assert 256 / stage1.seconds == pytest.approx(453, rel=0.005)
    assert 64 / limits.training(64, 175, 115).seconds == pytest.approx(
        155, rel=0.01)
    kept = limits.training(256, 47, 15, vision=False)
    assert kept.seconds == pytest.approx(
        stage1.seconds - limits.vision(256).seconds)


@pytest.mark.parametrize(('name', 'total'), [('7b', 7_832_625_024),
                                             ('13b', 14_110_861_184)])
def test_sizes_are_those_of_the_released_models(name, total):
    with torch.device('meta'):
        model = MODELS.build(our_config(DIMS[name], 'float32'))
    assert sum(x.numel() for x in model.parameters()) == total


def test_the_bench_size_has_49_million_parameters():
    with torch.device('meta'):
        model = MODELS.build(our_config(DIMS['bench'], 'float32'))
    assert round(sum(x.numel() for x in model.parameters()) / 1e6) == 49
    assert DIMS['bench'].vision.width // DIMS['bench'].vision.heads == 88


def test_an_unknown_size_names_the_known_ones():
    with pytest.raises(ConfigError, match='tiny, bench, 7b, 13b'):
        get_dims('70b')
