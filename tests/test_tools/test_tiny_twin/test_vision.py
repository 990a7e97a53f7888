# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import torch
from PIL import Image
from tiny_twin.pictures import draw_pictures, normalize
from tiny_twin.vision import PlaceReader, facts_as_labels, reading_loss

from mmpretrain_minigpt4.datasets.shapes import (
    BACKGROUNDS,
    COLORS,
    PLACES,
    SHAPES,
    SIZES,
    draw_scene,
)


def test_labels_are_the_facts_of_the_scene():
    for seed in range(40):
        scene, labels = draw_scene(seed), facts_as_labels(seed)
        at = {o.place: o for o in scene.objects}
        for index, place in enumerate(PLACES):
            color, shape, size = labels[index:12:4]
            if place in at:
                assert list(COLORS)[color] == at[place].color
                assert SHAPES[shape] == at[place].shape
                assert list(SIZES)[size] == at[place].size
            else:
                assert (color, shape, size) == (len(COLORS), -100, -100)
        assert list(BACKGROUNDS)[labels[12]] == scene.background


def test_a_reader_that_is_right_has_no_loss():
    labels = torch.tensor([facts_as_labels(seed) for seed in range(8)])
    wanted = labels[:, :12].view(-1, 3, 4).clamp(min=0)
    sure = [
        40. * torch.nn.functional.one_hot(wanted[:, i], n).float()
        for i, n in enumerate((7, 5, 2))
    ]
    ground = 40. * torch.nn.functional.one_hot(labels[:, 12], 4).float()
    loss, right = reading_loss((*sure, ground), labels)
    assert loss < 1e-6 and right == 1
    reader = PlaceReader(16)
    loss, right = reading_loss(reader(torch.randn(8, 16, 16)), labels)
    assert loss > 1 and right < 1


def test_pictures_are_what_the_pipeline_sees(tmp_path):
    cache = tmp_path / 'pictures.npy'
    drawn = draw_pictures(range(3), 64, cache, workers=1)
    again = draw_pictures(range(3), 64, cache, workers=1)
    assert (drawn == again).all()
    wanted = draw_scene(2).image.resize((64, 64), Image.Resampling.BICUBIC)
    assert (drawn[2] == np.asarray(wanted)).all()
    pixel = normalize(drawn[2:3])[0, :, 5, 9]
    expected = (drawn[2, 5, 9] - np.array(
        [122.770938, 116.7460125, 104.09373615])) / np.array(
            [68.5005327, 66.6321579, 70.32316305])
    np.testing.assert_allclose(pixel.numpy(), expected, rtol=1e-5)
