# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""A run from cached features is the run from images."""

import json

import pytest
from helpers.feature_run import Run
from helpers.training_data import write_align, write_images, write_shard

from mmpretrain_minigpt4.apis.cache_features import cache_features
from mmpretrain_minigpt4.datasets import LoadImage
from mmpretrain_minigpt4.models import EVAViT, QFormer


@pytest.fixture
def blind(monkeypatch):
    """Let whatever decodes an image or builds an eye fail."""

    def close():

        def fail(*args, **kwargs):
            raise AssertionError('this was not to be done')

        monkeypatch.setattr(LoadImage, 'transform', fail)
        monkeypatch.setattr(EVAViT, '__init__', fail)
        monkeypatch.setattr(QFormer, '__init__', fail)

    return close


@pytest.fixture(scope='module')
def plain(small, tmp_path_factory):
    """The run from images."""
    return Run(small(), tmp_path_factory.mktemp('plain'))


def test_features_in_float32_change_no_bit(small, plain, blind, tmp_path):
    cfg = small()
    report = cache_features(cfg, tmp_path / 'cache', dtype='float32')
    assert (report.images, report.added, report.broken) == (5, 5, [])
    blind()
    cfg.model.features = str(tmp_path / 'cache')
    cached = Run(cfg, tmp_path / 'cached')
    assert len(plain.losses) == 2 and len(plain.gradients) == 4
    assert cached.same(plain)
    assert cached.model.backbone is None and cached.model.neck is None


def test_features_in_half_precision_change_little(small, plain, tmp_path):
    cfg = small()
    assert cache_features(cfg, tmp_path / 'cache').image_bytes == 16 * 128 * 2
    cfg.model.features = str(tmp_path / 'cache')
    cached = Run(cfg, tmp_path / 'cached')
    assert cached.losses == pytest.approx(plain.losses, rel=2e-3)
    assert not cached.same(plain)


def test_files_with_a_broken_one_give_the_very_same_run(align, blind,
                                                        tmp_path):
    write_align(tmp_path / 'data', 8, broken=[3])
    cfg = align(tmp_path / 'data', **{'train_cfg.max_iters': 4})
    plain = Run(cfg, tmp_path / 'plain')
    report = cache_features(
        cfg, tmp_path / 'cache', dtype='float32', workers=2)
    fault, = report.broken
    assert fault.where.endswith('3.jpg')
    files = (tmp_path / 'data' / 'image').iterdir()
    # Equal files are one image.
    assert report.images == len({path.read_bytes() for path in files}) - 1
    blind()
    cfg.model.features = str(tmp_path / 'cache')
    assert Run(cfg, tmp_path / 'cached').same(plain)


def test_shards_give_the_very_same_run(small, blind, tmp_path):
    pytest.importorskip('webdataset')
    write_shard(tmp_path / 'a' / '0.tar', range(6), broken={2})
    write_shard(tmp_path / 'b' / '0.tar', range(20, 24))
    cfg = small()
    cfg.train_dataloader.sampler = None
    cfg.train_dataloader.dataset = dict(
        type='mmpretrain_minigpt4.ImageTextShards',
        data_root=str(tmp_path),
        sources=[dict(shards='a/0.tar', weight=2), dict(shards='b/0.tar')],
        shuffle=4,
        pipeline=cfg.train_dataloader.dataset.pipeline)
    plain = Run(cfg, tmp_path / 'plain')
    report = cache_features(cfg, tmp_path / 'cache', dtype='float32')
    assert 2 < report.images < 10
    assert report.broken[0].where.endswith('0.tar/000002')
    blind()
    cfg.model.features = str(tmp_path / 'cache')
    assert Run(cfg, tmp_path / 'cached').same(plain)


def test_samples_with_several_and_no_images_are_looked_up(small, blind,
                                                          tmp_path):
    write_images(tmp_path, ['a.png', 'b.png'])
    images = [['a.png', 'b.png'], [], ['b.png'], ['a.png']]
    talk = [{'from': 'human', 'value': 'Is it red?'},
            {'from': 'gpt', 'value': 'Yes.'}]
    (tmp_path / 'talks.json').write_text(json.dumps([
        dict(images=names, conversations=talk) for names in images]))
    cfg = small()
    cfg.model.data_preprocessor.type = (
        'mmpretrain_minigpt4.ImageListPreprocessor')
    load, resize, pack = cfg.train_dataloader.dataset.pipeline
    pack['algorithm_keys'] = ['conversation']
    cfg.train_dataloader.collate_fn = dict(
        type='mmpretrain_minigpt4.list_images')
    cfg.train_dataloader.dataset = dict(
        type='mmpretrain_minigpt4.Conversations',
        data_root=str(tmp_path),
        ann_file='talks.json',
        pipeline=[
            dict(type='mmpretrain_minigpt4.EachImage',
                 transforms=[load, resize]), pack
        ])
    plain = Run(cfg, tmp_path / 'plain')
    report = cache_features(cfg, tmp_path / 'cache', dtype='float32')
    assert report.images == 2
    blind()
    cfg.model.features = str(tmp_path / 'cache')
    cached = Run(cfg, tmp_path / 'cached')
    # Batches hold other numbers of images, so the last bits may differ.
    assert cached.losses == pytest.approx(plain.losses, rel=1e-5)
