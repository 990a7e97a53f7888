# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The pipeline step gives what the decoder gives."""

import mmpretrain_minigpt4  # isort: skip  # its patches come first

import io

import numpy as np
import pytest
from mmcv.transforms import BaseTransform
from PIL import Image

from mmpretrain_minigpt4.datasets import LoadImage
from mmpretrain_minigpt4.errors import ConfigError, ImageError
from mmpretrain_minigpt4.images import load_image
from mmpretrain_minigpt4.registry import TRANSFORMS

NOISE = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)


def files(folder):
    """Images that a naive reader would get wrong."""
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = Image.fromarray(NOISE)
    picture.save(folder / 'turned.jpg', exif=exif)
    clear = picture.convert('RGBA')
    clear.putalpha(Image.fromarray(NOISE[..., 0]))
    clear.save(folder / 'clear.png')
    Image.fromarray(NOISE[..., 0].astype(np.uint16) << 8).save(
        folder / 'deep.png')
    picture.convert('CMYK').save(folder / 'ink.jpg')
    picture.save(folder / 'plain.bmp')
    return sorted(folder.iterdir())


def test_the_step_gives_the_pixels_of_the_decoder(tmp_path):
    step = TRANSFORMS.build(dict(type='mmpretrain_minigpt4.LoadImage'))
    assert isinstance(step, LoadImage) and isinstance(step, BaseTransform)
    for path in files(tmp_path):
        results = step(dict(img_path=str(path), other=1))
        expected = np.asarray(load_image(path))
        assert np.array_equal(results['img'], expected), path.name
        assert results['img'].dtype == np.uint8
        assert results['img'].flags.writeable
        assert results['img_shape'] == expected.shape[:2]
        assert results['ori_shape'] == expected.shape[:2]
        assert results['other'] == 1 and results['img_path'] == str(path)


def test_arrays_are_bgr_as_in_the_toolbox_unless_said(tmp_path):
    toolbox = LoadImage()(dict(img=NOISE[..., ::-1]))
    own = LoadImage(array_order='rgb')(dict(img=NOISE))
    assert np.array_equal(toolbox['img'], NOISE)
    assert np.array_equal(own['img'], NOISE)


def test_pil_images_and_bytes_are_read_too():
    picture = Image.fromarray(NOISE)
    file = io.BytesIO()
    picture.save(file, 'PNG')
    for image in (picture, file.getvalue()):
        assert np.array_equal(LoadImage()(dict(img=image))['img'], NOISE)


def test_an_image_in_memory_goes_before_its_path():
    results = LoadImage()(dict(img=NOISE, img_path='gone.png'))
    assert results['img'].shape == NOISE.shape


def test_errors_name_the_file(tmp_path):
    with pytest.raises(ImageError, match='gone.png'):
        LoadImage()(dict(img_path=tmp_path / 'gone.png'))
    with pytest.raises(ImageError, match='a.png'):
        LoadImage()(dict(img=np.zeros(3), img_path='a.png'))
    with pytest.raises(ImageError, match="neither 'img' nor 'img_path'"):
        LoadImage()(dict(img=None, image_id=3))


def test_limits_come_from_the_config():
    step = LoadImage(limits=dict(max_side=8))
    with pytest.raises(ImageError, match='max_side'):
        step(dict(img=NOISE))
    with pytest.raises(ConfigError, match='max_side'):
        LoadImage(limits=dict(max_side=0))
    assert 'max_side=8' in repr(step)


def test_the_toolboxs_own_steps_follow_it():
    pytest.importorskip('mmpretrain')
    from mmengine.dataset import Compose
    from mmengine.registry import init_default_scope
    init_default_scope('mmpretrain')
    import mmpretrain.datasets  # noqa: F401
    pipeline = Compose([TRANSFORMS.build(step) for step in (
        dict(type='mmpretrain_minigpt4.LoadImage'),
        dict(type='mmpretrain.Resize', scale=(8, 8), backend='pillow',
             interpolation='bicubic'),
        dict(type='mmpretrain.PackInputs', meta_keys=['ori_shape']))])
    packed = pipeline(dict(img=NOISE))
    assert tuple(packed['inputs'].shape) == (3, 8, 8)
    assert packed['data_samples'].ori_shape == (6, 9)


assert mmpretrain_minigpt4  # imported for its patches
