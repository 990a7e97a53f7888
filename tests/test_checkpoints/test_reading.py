# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""read_state_dict: whole files are read, everything else is refused."""

import json
import os
import pickle
import struct

import pytest
import torch
from safetensors.torch import save_file

from mmpretrain_minigpt4.checkpoints.reading import read_state_dict
from mmpretrain_minigpt4.errors import CheckpointError, MissingWeightsError

WEIGHTS = {
    'llama_proj.weight': torch.arange(6.).view(2, 3),
    'llama_proj.bias': torch.ones(2),
}


def same(found) -> bool:
    return set(found) == set(WEIGHTS) and all(
        found[key].equal(value) for key, value in WEIGHTS.items())


@pytest.mark.parametrize('suffix', ['.pth', '.bin', '.safetensors'])
def test_weights_are_read_whatever_the_format(tmp_path, suffix):
    path = tmp_path / ('weights' + suffix)
    if suffix == '.safetensors':
        save_file(WEIGHTS, path)
    else:
        torch.save(WEIGHTS, path)
    assert same(read_state_dict(path))
    assert same(read_state_dict(str(path)))


def test_the_old_format_of_torch_is_read(tmp_path):
    path = tmp_path / 'old.pth'
    torch.save(WEIGHTS, path, _use_new_zipfile_serialization=False)
    assert same(read_state_dict(path))


def test_weights_are_taken_out_of_what_a_training_script_saved(tmp_path):
    path = tmp_path / 'official.pth'
    torch.save(
        {
            'model': WEIGHTS,
            'optimizer': {'state': {}, 'param_groups': [{'lr': 0.1}]},
            'config': {'run': {'seed': 42}},
            'scaler': {'scale': 65536.0},
            'epoch': 4,
        }, path)
    assert same(read_state_dict(path))


class Bomb:
    """A pickle that would create a file when it is opened."""

    def __init__(self, canary):
        self.canary = str(canary)

    def __reduce__(self):
        return os.mkdir, (self.canary, )


@pytest.mark.parametrize('how', ['zip', 'legacy', 'pickle'])
def test_a_file_with_code_is_refused_and_the_code_not_run(tmp_path, how):
    path, canary = tmp_path / 'evil.pth', tmp_path / 'canary'
    content = {'model': WEIGHTS, 'config': Bomb(canary)}
    if how == 'pickle':
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(
            content, path, _use_new_zipfile_serialization=how == 'zip')
    with pytest.raises(CheckpointError, match='can run code') as error:
        read_state_dict(path)
    assert how == 'pickle' or '.mkdir`' in str(error.value)
    assert not canary.exists()


def test_code_in_a_config_string_is_not_run(tmp_path):
    # The toolbox would execute meta.config as Python when it resumes.
    path, canary = tmp_path / 'resume.pth', tmp_path / 'canary'
    code = f'__import__("os").mkdir({str(canary)!r})'
    torch.save(
        {
            'state_dict': WEIGHTS,
            'meta': {'config': code, 'cfg': code},
            'message_hub': {'cfg': code},
        }, path)
    assert same(read_state_dict(path))
    assert not canary.exists()


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_an_empty_file_is_called_empty(tmp_path, suffix):
    path = tmp_path / ('empty' + suffix)
    path.touch()
    with pytest.raises(CheckpointError, match='0 bytes.*fetch it again'):
        read_state_dict(path)


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors', '.old'])
@pytest.mark.parametrize('share', [0.02, 0.3, 0.6, 0.95])
def test_a_truncated_file_is_refused_by_name(tmp_path, suffix, share):
    path = tmp_path / ('cut' + suffix)
    big = {'llama_proj.weight': torch.randn(40, 50)}
    if suffix == '.safetensors':
        save_file(big, path)
    else:
        torch.save(big, path, _use_new_zipfile_serialization=suffix == '.pth')
    data = path.read_bytes()
    path.write_bytes(data[:max(9, int(len(data) * share))])
    with pytest.raises(CheckpointError, match='cut'):
        read_state_dict(path)


def write_header(path, header: dict, data: bytes, length=None) -> None:
    text = json.dumps(header).encode()
    size = len(text) if length is None else length
    path.write_bytes(struct.pack('<Q', size) + text + data)


def test_overlapping_offsets_are_refused(tmp_path):
    path = tmp_path / 'overlap.safetensors'
    entry = dict(dtype='F32', shape=[2], data_offsets=[0, 8])
    late = dict(dtype='F32', shape=[2], data_offsets=[4, 12])
    write_header(path, {'a': entry, 'b': late}, bytes(12))
    with pytest.raises(CheckpointError, match='overlap.safetensors'):
        read_state_dict(path)


@pytest.mark.parametrize(('entry', 'length'), [
    (dict(dtype='F32', shape=[2], data_offsets=[0, 1 << 60]), None),
    (dict(dtype='F32', shape=[1 << 62, 4], data_offsets=[0, 8]), None),
    (dict(dtype='F99', shape=[2], data_offsets=[0, 8]), None),
    (dict(dtype='F32', shape=[3], data_offsets=[0, 8]), None),
    (dict(dtype='F32', shape=[2], data_offsets=[0, 8]), 1 << 60),
])
def test_lying_headers_are_refused(tmp_path, entry, length):
    path = tmp_path / 'liar.safetensors'
    write_header(path, {'a': entry}, bytes(8), length)
    with pytest.raises(CheckpointError, match='liar.safetensors'):
        read_state_dict(path)


@pytest.mark.parametrize(('content', 'word'), [
    (b'<!DOCTYPE html><html>404</html>', 'web page'),
    (b'version https://git-lfs.github.com/spec/v1\noid', 'git lfs pull'),
])
def test_what_a_failed_download_leaves_is_recognised(tmp_path, content, word):
    path = tmp_path / 'weights.pth'
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=word):
        read_state_dict(path)


def test_other_formats_are_refused(tmp_path):
    path = tmp_path / 'weights.npy'
    path.write_bytes(b'\x93NUMPY' + bytes(60))
    with pytest.raises(CheckpointError, match='only these are read'):
        read_state_dict(path)


def test_a_dict_without_tensors_is_refused(tmp_path):
    for name, content in (('a.pth', {}), ('b.pth', {'model': {}})):
        torch.save(content, tmp_path / name)
        with pytest.raises(CheckpointError, match='no tensors'):
            read_state_dict(tmp_path / name)
    save_file({}, tmp_path / 'c.safetensors')
    with pytest.raises(CheckpointError, match='no tensors'):
        read_state_dict(tmp_path / 'c.safetensors')


def test_a_dict_that_contains_itself_is_refused(tmp_path):
    loop = {}
    loop['model'] = loop
    torch.save(loop, tmp_path / 'loop.pth')
    with pytest.raises(CheckpointError, match='loop.pth'):
        read_state_dict(tmp_path / 'loop.pth')


@pytest.mark.parametrize('path', [
    'nowhere.pth', 'x' * 5000, 'null\0byte', 'https://a.example/w.pth'
])  # yapf: disable
def test_a_missing_file_is_missing_weights(path):
    with pytest.raises(MissingWeightsError, match='no checkpoint at'):
        read_state_dict(path)


@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='needs named pipes')
def test_a_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / 'pipe.pth')
    with pytest.raises(CheckpointError, match='not a regular file'):
        read_state_dict(tmp_path / 'pipe.pth')


def shard(folder, weight_map) -> None:
    for number, (key, value) in enumerate(WEIGHTS.items(), 1):
        save_file({key: value}, folder / f'model-{number}.safetensors')
    (folder / 'model.safetensors.index.json').write_text(
        json.dumps({'metadata': {}, 'weight_map': weight_map}))


MAP = {
    'llama_proj.weight': 'model-1.safetensors',
    'llama_proj.bias': 'model-2.safetensors',
}


def test_a_folder_of_shards_is_read_by_its_index(tmp_path):
    shard(tmp_path, MAP)
    assert same(read_state_dict(tmp_path))


def test_a_folder_with_one_file_is_read(tmp_path):
    save_file(WEIGHTS, tmp_path / 'model.safetensors')
    assert same(read_state_dict(tmp_path))


def test_a_missing_shard_is_named(tmp_path):
    shard(tmp_path, MAP)
    (tmp_path / 'model-2.safetensors').unlink()
    with pytest.raises(MissingWeightsError, match='model-2.safetensors'):
        read_state_dict(tmp_path)


def test_a_shard_of_another_version_is_found_out(tmp_path):
    shard(tmp_path, {**MAP, 'query_tokens': 'model-2.safetensors'})
    with pytest.raises(CheckpointError, match='query_tokens'):
        read_state_dict(tmp_path)


@pytest.mark.parametrize('file', ['../model-1.safetensors', '/etc/passwd'])
def test_an_index_does_not_lead_out_of_its_folder(tmp_path, file):
    shard(tmp_path, {**MAP, 'llama_proj.weight': file})
    with pytest.raises(CheckpointError, match='same folder'):
        read_state_dict(tmp_path)


@pytest.mark.parametrize(
    'text', ['', '[]', '{}', '{"weight_map": 3}', '[' * 100_000])
def test_a_broken_index_is_refused(tmp_path, text):
    (tmp_path / 'model.safetensors.index.json').write_text(text)
    with pytest.raises(CheckpointError, match='not an index'):
        read_state_dict(tmp_path)


def test_shards_without_an_index_and_folders_without_weights_are_refused(
        tmp_path):
    with pytest.raises(MissingWeightsError, match='holds no weights'):
        read_state_dict(tmp_path)
    shard(tmp_path, MAP)
    (tmp_path / 'model.safetensors.index.json').unlink()
    with pytest.raises(CheckpointError, match='no index'):
        read_state_dict(tmp_path)
