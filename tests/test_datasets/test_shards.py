# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Shards: mixed, split, resumed to the sample, and never silent loss."""

import json
from collections import Counter
from itertools import islice

import pytest
from helpers.training_data import write_shard
from mmengine.registry import DATASETS
from torch.utils.data import DataLoader

from mmpretrain_minigpt4.datasets import ImageTextShards
from mmpretrain_minigpt4.datasets.readers.shard_stream import Part
from mmpretrain_minigpt4.datasets.readers.tar_reading import (
    has_tar_end,
    read_shard,
)
from mmpretrain_minigpt4.errors import ConfigError, DatasetError

pytest.importorskip('webdataset')


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """Two sources: 6 shards of 10 pairs, numbered from 0; 2 from 500."""
    root = tmp_path_factory.mktemp('shards')
    for i in range(6):
        write_shard(root / 'laion' / f'{i:05}.tar', range(10 * i, 10 * i + 10))
    for i in range(2):
        first = 500 + 10 * i
        write_shard(root / 'cc' / f'{i:05}.tar', range(first, first + 10))
    return root


LAION = dict(shards='laion/{00000..00005}.tar', weight=115)
CC = dict(shards='cc/{00000..00001}.tar', weight=14)


def make(root, sources=(LAION, CC), **settings):
    settings = dict(dict(shuffle=7), **settings)
    return ImageTextShards(sources, str(root), **settings)


def keys(items, number=None):
    return [int(item['image_id']) for item in islice(items, number)]


def pair(item):
    return item['image_id'], item['gt_caption']


def loader_of(data, workers=0, batch=4):
    return DataLoader(
        data,
        batch_size=batch,
        num_workers=workers,
        collate_fn=list,
        multiprocessing_context='fork' if workers else None)


def test_a_pair_is_read_with_its_place(root):
    item = next(iter(make(root, [LAION], shuffle=1)))
    assert item['image_id'] == '000000'
    assert item['gt_caption'] == 'Picture 0.'
    assert item['img_path'].endswith('laion/00000.tar/000000')
    assert item['img'].startswith(b'\xff\xd8')


def test_a_pass_gives_every_sample_once_in_another_order(root):
    seen = keys(make(root, [LAION]), 120)
    first, second = seen[:60], seen[60:]
    assert sorted(first) == sorted(second) == list(range(60))
    assert first != second != sorted(second)


def test_the_order_is_the_seeds(root):
    assert keys(make(root), 50) == keys(make(root), 50)
    assert keys(make(root), 50) != keys(make(root, seed=1), 50)


def test_without_shuffling_the_order_is_that_of_the_files(root):
    assert keys(make(root, [LAION], shuffle=1), 60) == list(range(60))


def test_sources_are_mixed_115_to_14(root):
    seen = keys(make(root), 3000)
    share = sum(key >= 500 for key in seen) / len(seen)
    assert share == pytest.approx(14 / 129, abs=0.02)


def test_whole_batches_may_come_from_one_source_as_in_the_original(root):
    seen = keys(make(root, [LAION, dict(CC, weight=115)], mix_run=4), 400)
    runs = [{key >= 500 for key in seen[i:i + 4]} for i in range(0, 400, 4)]
    assert all(len(run) == 1 for run in runs)
    assert len({run.pop() for run in runs}) == 2


@pytest.mark.parametrize('streams', [2, 3, 6, 7])
def test_streams_share_a_pass_without_overlap_or_loss(root, streams):
    # 7 streams over 6 shards: each shard is split by samples.
    counts = Counter()
    for i in range(streams):
        for raw in make(root, [LAION]).one_pass(Part(i, streams)):
            counts[int(raw['__key__'])] += 1
    assert counts == Counter(range(60))


@pytest.mark.parametrize('world, workers', [(1, 2), (2, 2), (4, 1), (3, 3)])
def test_ranks_and_workers_share_a_pass(root, world, workers):
    seen = Counter()
    for rank in range(world):
        for worker in range(workers):
            data = make(root, [LAION])
            data.rank, data.world_size = rank, world
            turn = [
                item for item in islice(data.stream(worker, workers), 60)
                if item['position']['places'][0][0] == 0
            ]
            seen.update(keys(turn))
    # The last sample of a stream's pass already points to the next pass.
    assert not [key for key, count in seen.items() if count > 1]
    assert len(seen) == 60 - world * workers


@pytest.mark.parametrize('stop', [1, 3, 7, 24, 61, 133])
def test_it_resumes_to_the_sample(root, stop):
    whole = [pair(x) for x in islice(make(root), stop + 40)]
    data = make(root)
    assert [pair(x) for x in islice(data, stop)] == whole[:stop]
    state = json.loads(json.dumps(data.state_dict()))
    again = make(root)
    again.load_state_dict(state)
    assert [pair(x) for x in islice(again, 40)] == whole[stop:]


@pytest.mark.parametrize('workers', [1, 2, 3])
def test_it_resumes_with_workers_that_read_ahead(root, workers):
    whole = [[pair(x) for x in batch]
             for batch in islice(loader_of(make(root), workers), 12)]
    data = make(root)
    batches = iter(loader_of(data, workers))
    for _ in range(5):
        data.note_batch(next(batches))
    del batches
    state = json.loads(json.dumps(data.state_dict()))
    again = make(root)
    again.load_state_dict(state)
    rest = [[pair(x) for x in batch]
            for batch in islice(loader_of(again, workers), 7)]
    assert rest == whole[5:]


def test_it_goes_on_with_other_data_for_no_one(root):
    data = make(root)
    next(iter(data))
    state = data.state_dict()
    with pytest.raises(DatasetError, match='seed was 42, now it is 3'):
        make(root, seed=3).load_state_dict(state)
    with pytest.raises(DatasetError, match='weights'):
        make(root, [LAION, dict(CC, weight=1)]).load_state_dict(state)
    again = make(root)
    again.load_state_dict(state)
    with pytest.raises(DatasetError, match='1 workers'):
        next(iter(loader_of(again, 2)))


# ------------------------------------------------------------------- faults


def collect(data, number):
    """Items of a stream, and the faults that they tell."""
    items = list(islice(data, number))
    return keys(items), [
        fault for item in items for fault in item.get('skipped', [])]


def test_five_percent_broken_images_are_listed_and_the_rest_is_there(
        tmp_path, pipeline):
    for i in range(4):
        first = 25 * i
        write_shard(tmp_path / f'{i}.tar', range(first, first + 25),
                    broken={3, 40, 60, 77, 99})
    data = make(tmp_path, [dict(shards='{0..3}.tar')], pipeline=pipeline)
    seen, faults = [], []
    for item in islice(data, 95):
        sample = item['data_samples']
        seen.append(int(sample.image_id))
        faults += sample.get('skipped', [])
    assert sorted(seen) == sorted(set(range(100)) - {3, 40, 60, 77, 99})
    # A fault after the last good sample comes with the next pass.
    assert {int(f['key']) for f in faults} <= {3, 40, 60, 77, 99}
    assert len(faults) >= 4
    assert all(f['where'].endswith('.tar') and 'image' in f['reason']
               for f in faults)


def test_sixty_percent_broken_images_stop_the_stream(tmp_path, pipeline):
    write_shard(tmp_path / '0.tar', range(50), broken=range(0, 50))
    data = make(tmp_path, [dict(shards='0.tar')], pipeline=pipeline)
    with pytest.raises(DatasetError, match='max_broken_share'):
        list(islice(data, 60))


def test_a_shard_that_is_cut_short_is_named_and_its_rest_is_there(tmp_path):
    write_shard(tmp_path / '0.tar', range(10))
    write_shard(tmp_path / '1.tar', range(10, 20), end=False)
    data = make(tmp_path, [dict(shards='{0..1}.tar')], shuffle=1)
    seen, faults = collect(data, 40)
    assert set(range(14)) <= set(seen)
    assert any(f['where'].endswith('1.tar') and not f['key'] and
               'samples' in f['reason'] for f in faults)


@pytest.mark.parametrize('length', [512, 700, 1024, 1300, 5000])
def test_a_cut_is_noticed_wherever_it_is(tmp_path, length):
    path = tmp_path / '0.tar'
    write_shard(path, range(10))
    content = path.read_bytes()
    path.write_bytes(content[:len(content) // 1024 * 512 + length])
    assert not has_tar_end(str(path))
    with pytest.raises(DatasetError, match='again'):
        list(read_shard(str(path)))


def test_a_missing_shard_is_within_the_budget(root, tmp_path):
    for i in range(9):
        write_shard(tmp_path / f'{i}.tar', range(10 * i, 10 * i + 10))
    data = make(tmp_path, [dict(shards='{0..9}.tar')])
    seen, faults = collect(data, 180)
    assert set(seen) == set(range(90))
    assert any(f['where'].endswith('9.tar') and 'no such file'
               in f['reason'] for f in faults)


def test_too_many_missing_shards_are_told_before_training(root):
    with pytest.raises(DatasetError, match=r'4 of 10 shards.*00006.tar'):
        make(root, [dict(shards='laion/{00000..00009}.tar')])


def test_an_incomplete_or_empty_pair_is_broken(tmp_path):
    write_shard(tmp_path / '0.tar', range(5), captions={2: ' ', 3: 7})
    data = make(tmp_path, [dict(shards='0.tar')], shuffle=1)
    seen, faults = collect(data, 6)
    assert seen == [0, 1, 4, 0, 1, 4]
    assert [f['reason'] for f in faults[:2]] == [
        'The caption is empty.', "Its .json has no text 'caption'."]


def test_shards_without_any_sample_end_the_stream(tmp_path):
    (tmp_path / '0.tar').write_bytes(b'')
    data = make(tmp_path, [dict(shards='0.tar')])
    with pytest.raises(DatasetError, match='hold no sample'):
        next(iter(data))


def test_faults_are_not_told_again_after_a_resume(tmp_path):
    write_shard(tmp_path / '0.tar', range(10), end=False)
    write_shard(tmp_path / '1.tar', range(10, 20))
    sources = [dict(shards='{0..1}.tar')]
    whole = collect(make(tmp_path, sources, shuffle=30), 30)
    data = make(tmp_path, sources, shuffle=30)
    seen, faults = collect(data, 5)
    again = make(tmp_path, sources, shuffle=30)
    again.load_state_dict(data.state_dict())
    more, others = collect(again, 25)
    assert (seen + more, faults + others) == whole


@pytest.mark.parametrize('settings, word', [
    (dict(sources=[]), 'sources is empty'),
    (dict(sources=[dict(shard='x')]), 'shards=...'),
    (dict(sources=[dict(LAION, weight=0)]), 'weight'),
    (dict(shuffle=0), 'shuffle'),
    (dict(mix_run=0), 'mix_run'),
    (dict(max_broken_share=-1), 'max_broken_share'),
])
def test_wrong_settings_are_told(root, settings, word):
    with pytest.raises(ConfigError, match=word):
        make(root, **settings)


def test_it_is_built_from_a_config_and_has_a_length(root, pipeline):
    data = DATASETS.build(
        dict(
            type='mmpretrain_minigpt4.ImageTextShards',
            data_root=str(root),
            sources=[LAION],
            pipeline=pipeline))
    assert len(data) == 1_000_000_000
    assert data.metainfo['dataset_type'] == 'image_text_shards'
    item = next(iter(data))
    assert item['inputs'].shape == (3, 8, 8)
    assert item['data_samples'].position['worker'] == 0


def test_a_broken_pair_does_not_tear_a_batch_of_one_source(
        tmp_path, pipeline):
    write_shard(tmp_path / 'a.tar', range(40), broken={3, 11, 30})
    write_shard(tmp_path / 'b.tar', range(500, 540))
    data = make(tmp_path, [dict(shards='a.tar'), dict(shards='b.tar')],
                mix_run=4, pipeline=pipeline)
    ids = [int(x['data_samples'].image_id) for x in islice(data, 120)]
    assert all(len({key >= 500 for key in ids[i:i + 4]}) == 1
               for i in range(0, 120, 4))
