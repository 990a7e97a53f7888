# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Writing a feature cache: ended at any moment, nothing done is lost."""

import itertools
import os
import signal
from pathlib import Path

import pytest
import torch
from helpers.processes import fork
from helpers.training_data import write_align

from mmpretrain_minigpt4.apis.cache_features import cache_features
from mmpretrain_minigpt4.cli.main import main
from mmpretrain_minigpt4.errors import DatasetError, FeatureCacheError
from mmpretrain_minigpt4.features import FeatureIndex, FeatureStore
from mmpretrain_minigpt4.features.store import ShardWriter

CONFIG = str(Path(__file__).resolve().parents[2] / 'configs' / 'minigpt4' /
             'minigpt-4_tiny_stage2.py')


def test_a_killed_run_goes_on_and_keeps_what_is_done(small, tmp_path):
    cfg = small(**{'train_dataloader.dataset.num_scenes': 8})
    whole = cache_features(cfg, tmp_path / 'whole', shard_size=2)
    assert whole.added == 8

    samples = itertools.count(1)

    def kill(done, total):
        if next(samples) == 5:
            os.kill(os.getpid(), signal.SIGKILL)

    child = fork()
    if child == 0:
        cache_features(cfg, tmp_path / 'cut', shard_size=2, advance=kill)
        os._exit(1)
    status = os.waitpid(child, 0)[1]
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
    done = sorted((tmp_path / 'cut').glob('*.safetensors'))
    times = [path.stat().st_mtime_ns for path in done]
    assert len(done) == 2
    again = cache_features(cfg, tmp_path / 'cut', shard_size=2)
    assert (again.added, again.images) == (4, 8)
    assert [path.stat().st_mtime_ns for path in done] == times
    one, other = (FeatureStore(tmp_path / x) for x in ('whole', 'cut'))
    assert one.keys() == other.keys()
    for key in one.keys():
        assert torch.equal(one.get(key), other.get(key))
    assert cache_features(cfg, tmp_path / 'cut').added == 0


def test_an_interrupted_run_keeps_a_part_of_a_shard(small, tmp_path):

    samples = itertools.count(1)

    def interrupt(done, total):
        if next(samples) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache_features(small(), tmp_path, advance=interrupt)
    assert len(FeatureStore(tmp_path)) == 4


def test_the_budget_of_broken_images_holds(align, tmp_path):
    write_align(tmp_path / 'data', 4, broken=[0, 1, 2])
    with pytest.raises(DatasetError, match='3 of 3'):
        cfg = align(tmp_path / 'data')
        cfg.train_dataloader.dataset.max_broken_share = 0.02
        cache_features(cfg, tmp_path / 'cache')


def test_every_image_is_found_again_by_its_key(tmp_path):
    index = FeatureIndex({}, {}, {}, 'float32')
    writer = ShardWriter(tmp_path, index, shard_size=7)
    generator = torch.Generator().manual_seed(0)
    # Keys that begin alike, as far as the search looks first.
    keys = [bytes([i % 3] * 8 + [i] * 8) for i in range(50)]
    features = torch.randn(50, 2, 3, generator=generator)
    for key, row in zip(keys, features, strict=True):
        writer.add(key, row, 'it')
    writer.flush()
    store = FeatureStore(tmp_path)
    assert len(store) == 50 and store.keys() == set(keys)
    for key, row in zip(keys, features, strict=True):
        assert torch.equal(store.get(key), row)
    assert store.get(b'x' * 16) is None


def test_numbers_too_large_for_the_type_are_refused(tmp_path):
    writer = ShardWriter(
        tmp_path, FeatureIndex({}, {}, {}, 'float16'), shard_size=7)
    with pytest.raises(FeatureCacheError, match='do not fit into float16'):
        writer.add(b'x' * 16, torch.full((2, 3), 1e6), 'a.jpg')
    with pytest.raises(FeatureCacheError, match='not finite'):
        writer.add(b'x' * 16, torch.full((2, 3), torch.nan), 'a.jpg')


def test_the_command_writes_and_says_how_to_train(tmp_path, capsys):
    write_align(tmp_path / 'data', 40, broken=[3])
    out = str(tmp_path / 'features')
    config = tmp_path / 'own.py'
    config.write_text(f"""
_base_ = [{CONFIG!r}]
train_dataloader = dict(dataset=dict(
    _delete_=True, type='mmpretrain_minigpt4.CCSBUAlign',
    data_root='nowhere', pipeline={{{{_base_.train_pipeline}}}}))
""")
    code = main([
        'cache-features', str(config), '--out', out, '-q', '--cfg-options',
        f'train_dataloader.dataset.data_root={tmp_path / "data"}'
    ])
    text = capsys.readouterr().out
    assert code == 1 and '3.jpg' in text  # one is broken
    assert f'model.features={out}' in text
    assert FeatureIndex.read(out).shape == [16, 128]


@pytest.mark.parametrize('words, said', [
    (['nowhere.py'], 'nowhere.py: there is no such config file'),
    ([CONFIG, '--shard-size', '0'], '--shard-size 0'),
    ([CONFIG, '--cfg-options', 'model.checkpoints'], 'give KEY=VALUE'),
])
def test_the_command_refuses_in_one_line(words, said, capsys):
    assert main(['cache-features', *words]) in (2, 3)
    assert said in capsys.readouterr().err
