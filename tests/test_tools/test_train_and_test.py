# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The scripts in tools/, on the tiny twin where weights are needed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import mmpretrain_minigpt4
from mmpretrain_minigpt4.cli import main
from mmpretrain_minigpt4.cli.scripts import test as run_test
from mmpretrain_minigpt4.cli.scripts import train as run_train

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / 'tools'
CONFIGS = ROOT / 'configs' / 'minigpt4'
TINY = CONFIGS / 'minigpt-4_tiny_caption.py'
PACKAGE = Path(mmpretrain_minigpt4.__file__).parent

needs_tiny = pytest.mark.skipif(
    not (PACKAGE / 'assets' / 'tiny' / 'projection.safetensors').is_file(),
    reason='the weights of the tiny twin are not in this copy')

FEW = [
    'test_dataloader.dataset.num_scenes=4', 'test_dataloader.batch_size=2',
    'model.head.generation.max_new_tokens=8'
]


@pytest.fixture(autouse=True)
def rank(monkeypatch):
    # Set by the scripts; taken back after each test.
    monkeypatch.setenv('LOCAL_RANK', '0')


@pytest.fixture
def config(tmp_path):
    path = tmp_path / 'config.py'
    path.write_text("model = dict(type='mmpretrain_minigpt4.MiniGPT4')\n"
                    'test_cfg = dict()\n'
                    'optim_wrapper = dict()\n')
    return path


def error_line(capsys):
    out, err = capsys.readouterr()
    assert 'Traceback' not in err
    line, = [x for x in err.splitlines() if ': error: ' in x]
    return line


@pytest.mark.parametrize('path', sorted(TOOLS.glob('*.py')),
                         ids=lambda path: path.name)
def test_a_script_takes_the_package_beside_it(path):
    text = path.read_text()
    assert text.startswith('#!/usr/bin/env python3\n')
    assert os.access(path, os.X_OK)
    before, imported, _ = text.partition(f'import {PACKAGE.name}')
    before, from_, _ = before.partition(f'from {PACKAGE.name}')
    assert 'sys.path.insert(0' in before or not (imported or from_)


def test_a_missing_config_is_one_line(capsys):
    assert run_test(['nowhere.py']) == 3
    assert 'test: error: nowhere.py' in error_line(capsys)
    assert run_train(['nowhere.py']) == 3
    assert 'train: error: nowhere.py' in error_line(capsys)


def test_a_config_that_is_no_python_is_one_line(tmp_path, capsys):
    path = tmp_path / 'broken.py'
    path.write_text('model = (\n')
    assert run_test([str(path)]) == 3
    assert 'broken.py' in error_line(capsys)


@pytest.mark.parametrize('name, text, hint', [
    ('a.py', 'x = undefined', 'NameError'),
    ('a.py', '1 / 0', 'ZeroDivisionError'),
    ('a.json', '{', 'JSONDecodeError'),
    ('a.yml', 'a: [', 'ParserError'),
    ('a.py', 'x = 1', 'no model'),
    ('a.py', 'model = 4', 'no model'),
    ('a.py', 'model = dict()', 'no train_dataloader'),
])
def test_what_is_wrong_with_a_config_is_one_line(tmp_path, capsys, name,
                                                 text, hint):
    path = tmp_path / name
    path.write_text(text + '\n')
    assert run_train([str(path)]) == 3
    line = error_line(capsys)
    assert str(path) in line and hint in line


@needs_tiny
@pytest.mark.parametrize('option', [
    'test_dataloader.dataset.num_scene=4', 'test_cfg.fp=1'])
def test_a_key_that_no_class_knows_is_named(tmp_path, capsys, option):
    assert run_test([str(TINY), '--work-dir', str(tmp_path), '--cfg-options',
                     option]) == 3
    line = error_line(capsys)
    assert option.split('=')[0].rpartition('.')[2] in line
    assert 'unexpected keyword' in line


@needs_tiny
@pytest.mark.parametrize('option, hint', [
    ('train_dataloader.dataset.type=Foo', 'Foo is not in the'),
    ('optim_wrapper.optimizer.type=Foo', 'optimizer.type'),
    ('optim_wrapper.optimizer.lr=high', "lr='high'"),
    ('train_cfg.max_iters=many', 'got many')])
def test_a_value_that_cannot_be_trained_with_is_named(tmp_path, capsys,
                                                      option, hint):
    config = CONFIGS / 'minigpt-4_tiny_stage2.py'
    assert run_train([str(config), '--work-dir', str(tmp_path),
                      '--cfg-options', option]) == 3
    assert hint in error_line(capsys)


@pytest.mark.parametrize('option', [
    'test_dataloader.batch_size=0', 'val_dataloader.batch_size=2.5',
    'test_dataloader.num_workers=-1', 'train_dataloader.batch_size=eight'])
def test_a_loaders_number_without_meaning_is_named(tmp_path, capsys, option):
    key = option.partition('_dataloader')[0]
    config = tmp_path / 'config.py'
    config.write_text(f'model, {key}_dataloader = dict(), dict()\n'
                      'test_dataloader = dict(dataset=dict())\n')
    assert run_test([str(config), '--work-dir', str(tmp_path),
                     '--cfg-options', option]) == 3
    line = error_line(capsys)
    assert option.split('=')[0] in line and 'give a whole number' in line


def test_a_work_dir_that_cannot_be_made_is_named(tmp_path, capsys):
    (tmp_path / 'file').write_text('')
    folder = tmp_path / 'file' / 'run'
    assert run_test([str(TINY), '--work-dir', str(folder)]) == 3
    assert f'{folder}' in error_line(capsys)


def test_an_override_is_a_key_and_a_value(capsys):
    with pytest.raises(SystemExit, match='2'):
        run_test([str(TINY), '--cfg-options', 'foo'])
    assert 'foo: give KEY=VALUE' in error_line(capsys)


def test_a_config_without_test_data_is_refused(config, capsys):
    assert run_test([str(config)]) == 3
    assert 'test_dataloader' in error_line(capsys)


@pytest.mark.parametrize('words, hint', [
    (['--out-item', 'metrics'], '--out'),
    (['--out', 'x.txt'], '.pkl'),
    (['--out', 'x.json'], '.pkl'),
    (['--out', 'x.csv', '--out-item', 'metrics'], '.json'),
    (['--interval', '0'], '--interval'),
])
def test_options_without_meaning_are_refused_first(words, hint, capsys):
    assert run_test(['nowhere.py', *words]) == 2
    assert hint in error_line(capsys)


@pytest.mark.parametrize('words', [
    ['--out', 'x.jsonl'], ['--out', 'x.pkl'], ['--show-dir', 'x']])
def test_a_place_that_cannot_be_written_is_named_first(
        config, words, tmp_path, capsys):
    (tmp_path / 'file').write_text('')
    config.write_text(config.read_text() + 'test_dataloader = dict()')
    option, name = words
    assert run_test([str(config), '--work-dir', str(tmp_path), option,
                     str(tmp_path / 'file' / name)]) == 3
    line = error_line(capsys)
    assert option in line and 'file is no folder' in line


def test_mixed_precision_asks_for_a_gpu(config, capsys, monkeypatch):
    monkeypatch.setattr('torch.cuda.is_available', lambda: False)
    assert run_train([str(config), '--amp']) == 2
    assert 'needs a GPU' in error_line(capsys)


def test_weights_alone_are_not_taken_for_the_state_of_a_run(config, capsys):
    assert run_train([str(config), '--resume', 'trained.safetensors']) == 2
    assert 'model.checkpoints' in error_line(capsys)


def test_scaling_the_rate_needs_the_batch_size_it_was_made_for(
        config, capsys):
    assert run_train([str(config), '--auto-scale-lr']) == 3
    assert 'auto_scale_lr' in error_line(capsys)


def test_the_command_line_has_both_scripts(capsys):
    assert main(['train', 'nowhere.py']) == 3
    assert main(['test', 'nowhere.py']) == 3


@pytest.mark.parametrize('name', ['train', 'test'])
def test_options_are_those_of_the_toolbox(name, capsys):
    import mmpretrain
    toolbox = Path(mmpretrain.__file__).parent / '.mim' / 'tools'
    source = (toolbox / f'{name}.py').read_text()
    theirs = {
        word.strip('\'",)')
        for word in source.replace('(', ' ').split()
        if word.startswith(("'--", '"--'))
    }
    with pytest.raises(SystemExit):
        dict(train=run_train, test=run_test)[name](['--help'])
    ours = capsys.readouterr().out
    # Left out: test-time augmentation averages scores of classes.
    missing = {
        option for option in theirs - {'--tta', '--local_rank',
                                       '--local-rank'}
        if option not in ours
    }
    assert theirs and not missing


@pytest.mark.parametrize('name, words', [
    ('dist_train.sh', []),
    ('dist_train.sh', ['config.py']),
    ('dist_test.sh', ['config.py', 'weights.safetensors']),
])
def test_the_launch_scripts_say_what_they_need(name, words):
    done = subprocess.run(['bash', str(TOOLS / name), *words],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 2 and 'usage:' in done.stderr


@pytest.mark.parametrize('name, words, expected', [
    ('dist_train.sh', ['c d.py', '2', '--resume'],
     ['train.py', 'c d.py', '--launcher', 'pytorch', '--resume']),
    ('dist_test.sh', ['c d.py', 'w', '2'],
     ['test.py', 'c d.py', 'w', '--launcher', 'pytorch']),
])
def test_the_launch_scripts_hand_words_on_whole(name, words, expected,
                                                tmp_path):
    stand_in = tmp_path / 'torchrun'
    stand_in.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    stand_in.chmod(0o755)
    path = os.pathsep.join([str(tmp_path), os.environ['PATH']])
    done = subprocess.run(['bash', str(TOOLS / name), *words],
                          capture_output=True, text=True, check=True,
                          env={**os.environ, 'PATH': path, 'PORT': '29999'})
    lines = done.stdout.splitlines()
    assert '--nproc-per-node=2' in lines and '--master-port=29999' in lines
    script = next(i for i, x in enumerate(lines) if x.endswith(expected[0]))
    assert lines[script + 1:] == expected[1:]
    assert Path(lines[script]).is_file()


@needs_tiny
def test_the_tiny_twin_is_tested_by_the_script(tmp_path):
    metrics, shown = tmp_path / 'metrics.json', tmp_path / 'shown'
    assert run_test([
        str(CONFIGS / 'minigpt-4_tiny_caption.py'), '--work-dir',
        str(tmp_path), '--out', str(metrics), '--out-item', 'metrics',
        '--show-dir', str(shown), '--interval', '3', '--cfg-options', *FEW
    ]) == 0
    assert 'shapes/objects_f1' in json.loads(metrics.read_text())
    assert [x.name for x in sorted(shown.iterdir())
            ] == ['000000_0.png', '000003_0.png']


@needs_tiny
def test_a_misfit_checkpoint_is_refused_by_name(tmp_path, capsys):
    import torch
    from safetensors.torch import save_file
    path = tmp_path / 'wide.safetensors'
    save_file({'projector.layers.0.weight': torch.zeros(5120, 768)}, path)
    code = run_test([
        str(CONFIGS / 'minigpt-4_tiny_caption.py'), str(path), '--work-dir',
        str(tmp_path)
    ])
    line = error_line(capsys)
    assert code == 3 and 'projector' in line


@needs_tiny
@pytest.mark.slow
def test_two_processes_give_the_metrics_of_one(tmp_path):
    results = []
    for devices in ('1', '2'):
        out = tmp_path / f'{devices}.json'
        done = subprocess.run(
            ['bash', str(TOOLS / 'dist_test.sh'),
             str(CONFIGS / 'minigpt-4_tiny_caption.py'),
             str(PACKAGE / 'assets' / 'tiny' / 'projection.safetensors'),
             devices, '--work-dir', str(tmp_path), '--out', str(out),
             '--out-item', 'metrics', '--cfg-options', *FEW],
            capture_output=True, text=True, check=False, env={
                **os.environ, 'PORT': f'2961{devices}', 'PATH':
                os.pathsep.join([str(Path(sys.executable).parent),
                                 os.environ['PATH']])
            })
        assert done.returncode == 0, done.stderr[-2000:]
        results.append(json.loads(out.read_text()))
    assert results[0] == results[1]
