# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Answers are drawn into the right images, under names that do not clash."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from mmpretrain_minigpt4.engine import TextVisualizationHook
from mmpretrain_minigpt4.errors import ConfigError


class Recorder:
    """Stands for a visualizer; keeps what it is told to draw."""

    def __init__(self):
        self.drawn = []

    def visualize_image_caption(self, image, sample, **kwargs):
        self.drawn.append(('caption', image, sample, kwargs))

    def visualize_vqa(self, image, sample, **kwargs):
        self.drawn.append(('vqa', image, sample, kwargs))


@pytest.fixture
def runner():
    return SimpleNamespace(visualizer=Recorder(), iter=7)


def batch(*fields):
    images = [
        torch.full((3, 4, 6), 10 * (i + 1), dtype=torch.uint8)
        for i in range(len(fields))
    ]
    return dict(inputs=images), [dict(x) for x in fields]


def names(runner):
    return [kwargs['name'] for *_, kwargs in runner.visualizer.drawn]


def test_nothing_is_drawn_unless_it_is_asked_for(runner):
    hook = TextVisualizationHook()
    hook.after_test_iter(runner, 0, *batch({'pred_caption': 'a'}))
    assert runner.visualizer.drawn == []


def test_every_nth_image_is_drawn_across_uneven_batches(runner, tmp_path):
    hook = TextVisualizationHook(
        enable=True, interval=2, out_dir=str(tmp_path / 'new'))
    hook.before_test_epoch(runner)
    hook.after_test_iter(runner, 0, *batch(*[{'pred_caption': 'a'}] * 3))
    hook.after_test_iter(runner, 1, *batch(*[{'pred_caption': 'b'}] * 2))
    assert names(runner) == ['000000', '000002', '000004']
    assert runner.visualizer.drawn[-1][3]['out_file'] == str(
        tmp_path / 'new' / '000004_0.png')
    hook.before_test_epoch(runner)
    hook.after_test_iter(runner, 0, *batch({'pred_caption': 'a'}))
    assert names(runner)[-1] == '000000'


def test_questions_on_one_image_get_files_of_their_own(runner, tmp_path):
    path = tmp_path / 'cat.png'
    Image.new('RGB', (9, 5), (1, 2, 3)).save(path)
    hook = TextVisualizationHook(enable=True, out_dir=str(tmp_path))
    fields = dict(img_path=str(path), question='What?', pred_answer='A cat.')
    hook.after_val_iter(runner, 0, *batch(fields, fields))
    assert names(runner) == ['000000_cat', '000001_cat']
    kind, image, sample, kwargs = runner.visualizer.drawn[0]
    assert kind == 'vqa' and sample['question'] == 'What?'
    assert kwargs['step'] == 7
    # The image as it was, not as the model gets it; enlarged, and below it
    # the strip that the text goes to.
    assert image.shape[1] == 605 and image[335, 0].tolist() == [1, 2, 3]
    assert image[336, 0].tolist() == [32, 32, 32]
    assert kwargs['text_cfg']['position'][1] > 336


def test_dollars_are_no_mathematics(runner):
    hook = TextVisualizationHook(enable=True)
    hook.after_test_iter(runner, 0, *batch({'pred_caption': 'for $5 or $6'}))
    assert runner.visualizer.drawn[0][2]['pred_caption'] == (
        r'for \$5 or \$6')


def test_small_images_are_enlarged_for_their_text(tmp_path):
    from mmpretrain.visualization import UniversalVisualizer
    runner = SimpleNamespace(visualizer=UniversalVisualizer(), iter=0)
    hook = TextVisualizationHook(enable=True, out_dir=str(tmp_path))
    hook.after_test_iter(runner, 0, *batch({'pred_caption': 'cost: $5 $'}))
    with Image.open(tmp_path / '000000_0.png') as image:
        assert image.size[0] == 504 and image.size[1] > 336
        pixels = np.asarray(image)
    # The text is under the image, and none of it in the image.
    assert pixels[:330].std() < 1 and pixels[340:].max() > 200


@pytest.mark.parametrize('text', [
    'word ' * 80, '\u56fe' * 150, 'a\nb', 'Supercalifragilistic ' * 9])
def test_the_strip_has_room_for_all_of_a_text(tmp_path, text):
    from mmpretrain.visualization import UniversalVisualizer
    runner = SimpleNamespace(visualizer=UniversalVisualizer(), iter=0)
    hook = TextVisualizationHook(enable=True, out_dir=str(tmp_path))
    hook.after_test_iter(runner, 0, *batch({'pred_caption': text}))
    with Image.open(tmp_path / '000000_0.png') as image:
        pixels = np.asarray(image)
    # Nothing is written at the lower end, and something over it.
    assert pixels[-4:].max() < 60 and pixels[340:].max() > 200


def test_an_interval_without_meaning_is_refused():
    with pytest.raises(ConfigError, match='at least 1'):
        TextVisualizationHook(interval=0)
