# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""``minigpt4 data check``: everything that is wrong is listed."""

import json
from pathlib import Path

import pytest
from helpers.training_data import write_align, write_shard
from mmengine.config import Config

from mmpretrain_minigpt4.apis.data_check import check_data
from mmpretrain_minigpt4.cli import main
from mmpretrain_minigpt4.errors import ConfigError


def found(report, kind):
    return {x.key for x in report.findings if x.kind == kind}


@pytest.fixture
def align(tmp_path):
    """20 pairs: 3 and 4 broken, 5 missing, 6 empty, 7 long, 9 as 8."""
    write_align(tmp_path, 20, broken=[3, 4])
    (tmp_path / 'image' / '5.jpg').unlink()
    path = tmp_path / 'filter_cap.json'
    content = json.loads(path.read_text())
    entries = content['annotations']
    entries[6]['caption'] = ' '
    entries[7]['caption'] = 'word ' * 10_000
    entries[9]['caption'] = entries[8]['caption']
    (tmp_path / 'image' / '9.jpg').write_bytes(
        (tmp_path / 'image' / '8.jpg').read_bytes())
    path.write_text(json.dumps(content))
    config = tmp_path / 'config.py'
    config.write_text(
        f'''train_dataloader = dict(dataset=dict(
    type='mmpretrain_minigpt4.CCSBUAlign', data_root={str(tmp_path)!r},
    pipeline=[dict(type='mmpretrain_minigpt4.LoadImage')]))
model = dict(head=dict(max_txt_len=160, llm='no/such/folder'))
''')
    return config


@pytest.mark.parametrize('workers', [0, 2])
def test_everything_wrong_is_listed(align, workers):
    told = []
    report = check_data(
        align, workers=workers,
        advance=lambda done, total: told.append((done, total)))
    assert report.samples == 20
    assert found(report, 'broken') == {'3', '4', '5'}
    assert found(report, 'empty') == {'6'}
    assert found(report, 'long') == {'7'}
    assert found(report, 'duplicate') == {'9'}
    assert told == [(1, 20)] * 20
    assert str(report) == ('20 samples: 3 broken, 1 empty, 1 too long, '
                           '1 duplicate.')


@pytest.mark.parametrize('workers', [0, 2])
def test_shards_are_read_once_whoever_reads(tmp_path, workers):
    pytest.importorskip('webdataset')
    write_shard(tmp_path / '0.tar', range(10), broken={4},
                captions={2: '...'})
    write_shard(tmp_path / '1.tar', range(10, 20), end=False)
    write_shard(tmp_path / '2.tar', [0])
    report = check_data(
        Config(
            dict(
                train_dataloader=dict(
                    dataset=dict(
                        type='mmpretrain_minigpt4.ImageTextShards',
                        data_root=str(tmp_path),
                        sources=[dict(shards='{0..3}.tar')],
                        pipeline=[
                            dict(type='mmpretrain_minigpt4.CleanCaption')
                        ])))),
        workers=workers)
    broken = {(x.where.rsplit('/', 1)[-1], x.key) for x in report.findings
              if x.kind == 'broken'}
    assert {('1.tar', ''), ('3.tar', '')} < broken
    assert found(report, 'broken') >= {'000004', ''}
    assert found(report, 'empty') == {'000002'}
    assert found(report, 'duplicate') == {'000000'}


def test_the_command_prints_all_and_its_code_tells(align, capsys):
    assert main(['data', 'check', str(align), '--workers', '0', '--json']) == 1
    lines = [json.loads(x) for x in capsys.readouterr().out.splitlines()]
    assert lines[-1] == dict(samples=20, broken=3, empty=1, long=1,
                             duplicate=1)
    assert len(lines) == 7
    assert main(['data', 'check', str(align), '--workers', '0',
                 '--limit', '3']) == 0
    assert capsys.readouterr().out == ('3 samples: 0 broken, 0 empty, '
                                       '0 too long, 0 duplicate.\n')


def test_one_own_folder_is_checked_with_a_shipped_config(tmp_path, capsys):
    from helpers.training_data import write_images
    write_images(tmp_path, ['dog.jpg'])
    (tmp_path / 'dog.txt').write_text('A dog.')
    root = Path(__file__).resolve().parents[2]
    assert main([
        'data', 'check',
        str(root / 'configs/minigpt4/minigpt-4_vicuna-7b_stage2.py'),
        '--workers', '0', '--cfg-options',
        'train_dataloader.dataset.type=mmpretrain_minigpt4.ImageTextFolder',
        f'train_dataloader.dataset.data_root={tmp_path}']) == 0
    assert capsys.readouterr().out.startswith('1 samples: 0 broken')
    assert main(['data', 'check', 'x.py', '--cfg-options', 'oops']) == 2


def test_missing_shards_are_one_line(tmp_path, capsys):
    pytest.importorskip('webdataset')
    write_shard(tmp_path / '0.tar', range(2))
    config = tmp_path / 'config.py'
    config.write_text(
        f'''train_dataloader = dict(dataset=dict(
    type='mmpretrain_minigpt4.ImageTextShards', pipeline=[],
    data_root={str(tmp_path)!r}, sources=[dict(shards='{{0..8}}.tar')]))
''')
    words = ['data', 'check', str(config), '--workers', '0']
    assert main(words) == 1
    line, total = capsys.readouterr().out.splitlines()
    assert '1.tar, ' in line and '3.tar and 5 more' in line
    assert 'docs/data.md' in line
    assert total.startswith('2 samples: 8 broken')
    (tmp_path / '0.tar').unlink()
    assert main(words) == 3
    out, err = capsys.readouterr()
    assert not out and '9 of 9 shards' in err and '4 more' in err


def test_names_of_files_move_no_cursor(tmp_path, capsys):
    names = ['red\x1b[31m\n', 'turned\u202e', 'odd\udcff']
    for name in names:
        (tmp_path / f'{name}.jpg').write_text('no image')
        (tmp_path / f'{name}.txt').write_text('A dog.')
    config = tmp_path / 'config.py'
    config.write_text(
        f'''train_dataloader = dict(dataset=dict(
    type='mmpretrain_minigpt4.ImageTextFolder', pipeline=[],
    data_root={str(tmp_path)!r}))
''')
    assert main(['data', 'check', str(config), '--workers', '0']) == 1
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 4
    assert out.isascii() and '\x1b' not in out
    for name in (r'red\x1b[31m\x0a.jpg', r'turned\u202e.jpg',
                 r'odd\udcff.jpg'):
        assert name in out


def test_a_config_without_data_is_told(align, tmp_path, capsys):
    with pytest.raises(ConfigError, match='no val_dataloader'):
        check_data(align, 'val_dataloader')
    assert main(['data', 'check', str(tmp_path / 'no.py')]) == 3
    assert 'no such config' in capsys.readouterr().err
