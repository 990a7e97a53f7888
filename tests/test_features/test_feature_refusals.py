# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""What would train on features of something else is refused."""

import shutil

import pytest
import torch
from helpers.training_data import picture, write_align
from mmengine.registry import RUNNERS
from safetensors.torch import load_file, save_file

from mmpretrain_minigpt4.apis.cache_features import cache_features
from mmpretrain_minigpt4.assets import resolve
from mmpretrain_minigpt4.datasets import LookUpFeatures
from mmpretrain_minigpt4.errors import (
    ConfigError,
    DatasetError,
    FeatureCacheError,
    ImageError,
)
from mmpretrain_minigpt4.features import FeatureIndex
from mmpretrain_minigpt4.features.pipeline import LOOK_UP, look_up, split
from mmpretrain_minigpt4.registry import MODELS

VISION = 'asset://tiny/vision.safetensors'


@pytest.fixture(scope='module')
def cache(tmp_path_factory):
    """Two images with their features; one that is no image."""
    root = tmp_path_factory.mktemp('cached')
    write_align(root / 'data', 12, broken=[7])
    return root


@pytest.fixture
def cfg(cache, align):
    cfg = align(cache / 'data')
    if not (cache / 'features').exists():
        cache_features(cfg, cache / 'features', shard_size=4)
    cfg.model.features = str(cache / 'features')
    return cfg


def build(cfg):
    """What a run builds before its first step: the eye's side of it."""
    return MODELS.build(dict(cfg.model.to_dict(), projector=None, head=None))


def start(cfg, tmp_path):
    cfg.work_dir = str(tmp_path)
    return RUNNERS.get(cfg.runner_type).from_cfg(cfg)


def test_a_model_from_features_has_no_eye(cfg):
    model = MODELS.build(cfg.model)
    assert model.backbone is None and model.neck is None
    names = {name.split('.')[0] for name, _ in model.named_parameters()}
    assert names == {'projector', 'head'}


def test_other_weights_are_refused(cfg, tmp_path):
    tensors = load_file(resolve(VISION))
    tensors['neck.query_tokens'] = tensors['neck.query_tokens'] + 1e-3
    save_file(tensors, tmp_path / 'other.safetensors')
    cfg.model.checkpoints[0] = str(tmp_path / 'other.safetensors')
    with pytest.raises(FeatureCacheError, match='neck.query_tokens differs'):
        MODELS.build(cfg.model)


def test_the_same_weights_may_lie_in_another_file(cfg, tmp_path):
    shutil.copyfile(resolve(VISION), tmp_path / 'copy.safetensors')
    cfg.model.checkpoints[0] = str(tmp_path / 'copy.safetensors')
    assert MODELS.build(cfg.model).load_report.skipped


def test_no_weights_to_compare_with_are_refused(cfg):
    del cfg.model.checkpoints[0]
    with pytest.raises(FeatureCacheError, match='names no file of the vis'):
        MODELS.build(cfg.model)


def test_the_file_of_the_vision_part_need_not_be_there(cfg, cache, align,
                                                       tmp_path):
    path = tmp_path / 'vision.safetensors'
    shutil.copyfile(resolve(VISION), path)
    cfg = align(cache / 'data')
    cfg.model.checkpoints[0] = str(path)
    cache_features(cfg, tmp_path / 'cache')
    path.unlink()
    cfg.model.features = str(tmp_path / 'cache')
    assert MODELS.build(cfg.model).backbone is None


@pytest.mark.parametrize('key, value, named', [
    ('backbone.num_heads', 4, 'model.backbone.num_heads is 5 in the cache '
     'and 4 in the config'),
    ('neck.num_queries', 8, 'model.neck.num_queries'),
    ('data_preprocessor.to_rgb', True, 'data_preprocessor.to_rgb is False'),
])
def test_another_vision_part_is_refused(cfg, key, value, named):
    cfg.merge_from_dict({f'model.{key}': value})
    with pytest.raises(FeatureCacheError, match=named):
        build(cfg)


def test_other_preprocessing_is_refused(cfg, tmp_path):
    cfg.train_dataloader.dataset.pipeline[1]['interpolation'] = 'bilinear'
    with pytest.raises(FeatureCacheError, match="'bilinear'.* in the config"):
        start(cfg, tmp_path)


def test_an_augmentation_is_refused(cfg, tmp_path):
    crop = dict(type='RandomResizedCrop', scale=64)
    cfg.train_dataloader.dataset.pipeline[1] = crop
    with pytest.raises(FeatureCacheError, match=r'random \(RandomResizedCr'):
        start(cfg, tmp_path)
    with pytest.raises(FeatureCacheError, match=r'random \(RandomResizedCr'):
        cache_features(cfg, tmp_path / 'cache')
    assert not (tmp_path / 'cache').exists()


def test_an_augmentation_inside_of_a_step_is_refused():
    flip = dict(type='RandomFlip', prob=0.5)
    with pytest.raises(FeatureCacheError, match='RandomFlip'):
        split([dict(type='mmpretrain_minigpt4.EachImage',
                    transforms=[flip]), dict(type='PackInputs')])


def test_a_step_that_cannot_be_told_is_asked_about():
    with pytest.raises(FeatureCacheError, match='reads_image'):
        split([dict(type='RemapLabels'), dict(type='PackInputs')])


def test_a_run_can_begin_from_the_config_that_one_left(cfg):
    dataset = cfg.train_dataloader.dataset
    look_up(dataset, cfg.model.features)
    once = dataset.to_dict()
    assert [step['type'] for step in once['pipeline']] == [
        LOOK_UP, 'mmpretrain.PackInputs']
    look_up(dataset, cfg.model.features)
    assert dataset.to_dict() == once


def test_text_steps_and_packing_are_kept():
    clean = dict(type='mmpretrain_minigpt4.CleanCaption')
    load = dict(type='mmpretrain_minigpt4.LoadImage')
    pack = dict(type='PackInputs')
    assert split([load, clean, pack]) == ([load], [clean, pack])


@pytest.mark.parametrize('part', ['backbone', 'neck'])
def test_a_trained_eye_has_no_features(cfg, part, tmp_path):
    cfg.model['freeze'] = [
        x for x in ('backbone', 'neck', 'head') if x != part]
    with pytest.raises(ConfigError, match=part):
        build(cfg)
    with pytest.raises(ConfigError, match=part):
        cache_features(cfg, tmp_path / 'cache')


def test_a_missing_entry_names_the_image_and_the_mend(cfg, cache, tmp_path):
    path = tmp_path / 'new.jpg'
    picture(200).save(path)
    step = LookUpFeatures(cfg.model.features)
    with pytest.raises(FeatureCacheError) as error:
        step(dict(img_path=str(path)))
    assert str(path) in str(error.value)
    assert 'minigpt4 cache-features' in str(error.value)
    # A run must not take it for a broken sample and replace it.
    assert not isinstance(error.value, (DatasetError, ImageError))


def test_an_image_known_to_be_broken_is_skipped_as_ever(cfg, cache):
    step = LookUpFeatures(cfg.model.features)
    with pytest.raises(ImageError, match='text file'):
        step(dict(img_path=str(cache / 'data' / 'image' / '7.jpg')))


def test_images_given_to_a_model_of_features_are_refused(cfg):
    model = MODELS.build(cfg.model)
    with pytest.raises(ConfigError, match='cached features'):
        model(torch.zeros(2, 3, 64, 64))


def test_a_folder_without_a_cache_is_refused(cfg, tmp_path):
    cfg.model.features = str(tmp_path)
    with pytest.raises(FeatureCacheError, match='holds no index.json'):
        build(cfg)


def test_a_damaged_shard_is_named(cfg, tmp_path):
    copy = tmp_path / 'copy'
    shutil.copytree(cfg.model.features, copy)
    shard = copy / FeatureIndex.read(copy).shards[0]['name']
    shard.write_bytes(shard.read_bytes()[:100])
    with pytest.raises(FeatureCacheError, match=shard.name):
        LookUpFeatures(str(copy))


def test_features_of_another_kind_are_not_added_to(cfg):
    folder = cfg.model.features
    before = FeatureIndex.read(folder)
    with pytest.raises(FeatureCacheError, match="dtype is 'float16'"):
        cache_features(cfg, folder, dtype='float32')
    assert FeatureIndex.read(folder) == before
