# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Saving what was trained, and converting files."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import checkpoint_layouts as layouts
from safetensors import safe_open

from mmpretrain_minigpt4.checkpoints.loading import load_checkpoints
from mmpretrain_minigpt4.checkpoints.reading import read_state_dict
from mmpretrain_minigpt4.checkpoints.saving import (
    convert_files,
    save_trained,
    write_safetensors,
)
from mmpretrain_minigpt4.errors import CheckpointError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def model():
    model = layouts.build_tiny()
    model['backbone'].requires_grad_(False)
    model['neck'].requires_grad_(False)
    return model


def test_only_what_was_trained_is_saved(model, tmp_path):
    path = save_trained(model, tmp_path / 'a.safetensors', {'step': '7'})
    assert set(read_state_dict(path)) == {
        'projector.layers.0.weight', 'projector.layers.0.bias'
    }
    with safe_open(path, 'pt') as file:
        assert file.metadata() == {'step': '7'}


def test_what_was_saved_is_loaded_bit_by_bit(model, tmp_path):
    path = save_trained(model, tmp_path / 'new' / 'a.safetensors')
    other = layouts.build_tiny()
    load_checkpoints(other, [path], allow_missing=('backbone.', 'neck.'))
    assert other['projector'].layers[0].weight.equal(
        model['projector'].layers[0].weight)


def test_saving_an_all_frozen_model_is_an_error(model, tmp_path):
    with pytest.raises(CheckpointError, match='no parameter'):
        save_trained(model.requires_grad_(False), tmp_path / 'a.safetensors')


def test_metadata_that_are_not_text_are_refused(model, tmp_path):
    with pytest.raises(CheckpointError, match='json.dumps'):
        save_trained(model, tmp_path / 'a.safetensors', {'step': 7})
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_old_file_and_no_other(
        model, tmp_path, monkeypatch):
    path = save_trained(model, tmp_path / 'a.safetensors')
    old = path.read_bytes()

    def full(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(OSError, match='No space'):
        save_trained(model, path)
    assert path.read_bytes() == old
    assert [file.name for file in tmp_path.iterdir()] == ['a.safetensors']


def test_a_folder_that_cannot_be_written_is_an_os_error(tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(OSError):
        write_safetensors({'a': torch.zeros(1)}, tmp_path / 'file' / 'b')


def test_shared_and_strided_tensors_are_saved(tmp_path):
    whole = torch.arange(6.).view(2, 3)
    path = write_safetensors(
        {'a': whole, 'b': whole, 'c': whole.t()}, tmp_path / 'x.safetensors')
    assert read_state_dict(path)['c'].equal(whole.t())


@pytest.fixture
def sources(tmp_path):
    torch.save(layouts.eva(), tmp_path / 'eva.pth')
    torch.save({'model': layouts.blip2()}, tmp_path / 'blip2.pth')
    torch.save({'model': layouts.projection()}, tmp_path / 'proj.pth')
    return [str(tmp_path / name) for name in (
        'eva.pth', 'blip2.pth', 'proj.pth')]  # yapf: disable


def test_files_are_merged_into_one_that_loads(sources, tmp_path):
    out = tmp_path / 'one.safetensors'
    report = convert_files(sources, out, dtype='bfloat16')
    tensors = read_state_dict(out)
    assert set(tensors) == set(report.sources)
    assert all(t.dtype == torch.bfloat16 for t in tensors.values())
    assert load_checkpoints(layouts.build_tiny(), [out]).ok


def test_converting_does_not_overwrite_unless_forced(sources, tmp_path):
    out = tmp_path / 'one.safetensors'
    convert_files(sources, out)
    with pytest.raises(CheckpointError, match='there already'):
        convert_files(sources, out)
    convert_files(sources, out, force=True)
    with pytest.raises(CheckpointError, match='.safetensors'):
        convert_files(sources, tmp_path / 'one.pth')
    with pytest.raises(CheckpointError, match='int8'):
        convert_files(sources, tmp_path / 'b.safetensors', dtype='int8')


def test_the_script_converts_and_reports(sources, tmp_path):
    script = [sys.executable, str(ROOT / 'tools' / 'convert_checkpoint.py')]
    out = tmp_path / 'one.safetensors'
    # From anywhere, with nothing installed.
    env = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'}
    done = subprocess.run(
        [*script, *sources, '--out', str(out)],
        capture_output=True, text=True, env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert 'backbone' in done.stdout and out.exists()
    broken = tmp_path / 'broken.pth'
    broken.touch()
    done = subprocess.run(
        [*script, str(broken), '--out', str(tmp_path / 'b.safetensors')],
        capture_output=True, text=True, env=env, cwd=tmp_path)
    assert done.returncode == 1
    assert 'Traceback' not in done.stderr and '0 bytes' in done.stderr


def test_checkpoints_import_torch_and_safetensors_alone():
    code = ('import sys, mmpretrain_minigpt4.checkpoints; '
            'sys.exit(bool({"mmengine", "mmpretrain", "transformers"} '
            '& set(sys.modules)))')
    done = subprocess.run(
        [sys.executable, '-c', code], cwd=ROOT, check=False)
    assert done.returncode == 0
