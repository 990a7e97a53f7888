# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The models of the zoo, by the toolbox's own functions."""

import pytest
import torch
import yaml
from mmpretrain import get_model, list_models
from mmpretrain.apis.model import ModelHub

from mmpretrain_minigpt4 import zoo
from mmpretrain_minigpt4.checkpoints import download
from mmpretrain_minigpt4.errors import ConfigError, MissingWeightsError

ENTRIES = {entry.name: entry for entry in zoo.entries()}
FULL = [f'minigpt-4_{llm}_{task}'
        for llm in ('vicuna-7b', 'vicuna-13b', 'llama2-7b')
        for task in ('caption', 'vqa')]


@pytest.fixture(autouse=True)
def nothing_is_fetched(monkeypatch, tmp_path):
    """Fail on any attempt, and hide what the machine's user has."""

    def refuse(url, *args, **kwargs):
        raise AssertionError(f'{url} would be fetched')

    monkeypatch.setattr(download, 'fetch', refuse)
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    monkeypatch.delenv('MINIGPT4_WEIGHTS', raising=False)
    monkeypatch.delenv('VICUNA_DIR', raising=False)
    monkeypatch.chdir(tmp_path)


def test_our_models_are_listed_by_task():
    ours = [name for name in list_models() if name.startswith('minigpt-4')]
    assert sorted(ours) == sorted(ENTRIES)
    assert set(FULL) <= set(ours)
    captions = list_models('minigpt-4', task='Image Caption')
    assert captions == [name for name in sorted(ours) if 'caption' in name]


def test_each_model_has_one_task():
    for name in ENTRIES:
        assert len(ModelHub.get(name).results) == 1


def test_registering_again_changes_nothing():
    before = list_models()
    zoo.register(ModelHub)
    ModelHub._register_mmpretrain_models()
    assert list_models() == before


def test_names_are_found_in_any_case():
    assert ModelHub.get('MiniGPT-4_Vicuna-7B_Caption').name == FULL[0]


@pytest.mark.parametrize('name', ENTRIES)
def test_metafile_and_config_name_the_same_weights(name):
    entry = ENTRIES[name]
    named = ModelHub.get(name).config.model.checkpoints
    files = [file for one in named for file in download.expand(one)]
    assert files == download.expand(entry.weights)
    assert ModelHub.get(name).weights == entry.weights


def test_a_missing_language_model_is_told_before_anything_is_fetched():
    with pytest.raises(MissingWeightsError, match='vicuna-7b-v0'):
        get_model(FULL[0], pretrained=True)
    with pytest.raises(MissingWeightsError, match='elsewhere'):
        get_model(FULL[0], head=dict(llm='elsewhere'))


def test_what_nobody_publishes_is_asked_for_before_anything_is_fetched():
    llm = dict(_delete_=True, config=dict(model_type='llama'))
    with pytest.raises(MissingWeightsError, match='vicuna-13b_projection'):
        get_model(
            'minigpt-4_vicuna-13b_caption',
            pretrained=True,
            head=dict(llm=llm))


def test_the_language_models_folder_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv('VICUNA_DIR', '/some/folder')
    assert ModelHub.get(FULL[0]).config.model.head.llm == '/some/folder'


def test_settings_without_weights_load_nothing():
    assert zoo.settings(FULL[0]) == dict(checkpoints=None)
    path = str(zoo.config_path(FULL[0]))
    assert zoo.settings(path) == dict(checkpoints=None)


def test_settings_name_the_weights_of_a_model_or_a_config():
    files = download.expand(ENTRIES[FULL[0]].weights)
    path = str(zoo.config_path(FULL[0]))
    assert zoo.settings(FULL[0], True) == dict(checkpoints=files)
    assert zoo.settings(path, True) == dict(checkpoints=files)


def test_llm_and_dtype_reach_the_head():
    given = zoo.settings(FULL[0], llm='a', dtype=torch.float32, freeze=())
    assert given == dict(
        head=dict(llm='a', dtype='float32'),
        dtype='float32',
        freeze=(),
        checkpoints=None)


def test_weights_come_from_a_folder(tmp_path, monkeypatch):
    files = [file.rpartition('/')[2]
             for file in download.expand(ENTRIES[FULL[0]].weights)]
    # The projection under the other name that OpenMMLab gave it.
    files[2] = 'minigpt-4_linear_vicuna7b_20230615-714b5f52.pth'
    folder = tmp_path / 'weights'
    folder.mkdir()
    for file in files:
        (folder / file).touch()
    wanted = dict(checkpoints=[str(folder / file) for file in files])
    assert zoo.settings(FULL[0], True, weights=str(folder)) == wanted
    mapping = ('https://.*/', f'{folder}/')
    files[2] = 'minigpt-4_linear-projection_20230615-714b5f52.pth'
    (folder / files[2]).touch()
    wanted = dict(checkpoints=[str(folder / file) for file in files])
    assert zoo.settings(FULL[0], True, mapping) == wanted
    monkeypatch.setenv('MINIGPT4_WEIGHTS', str(folder))
    found = download.locate(ENTRIES[FULL[0]].weights)
    assert [str(path) for path in found] == wanted['checkpoints']
    (folder / files[0]).unlink()
    with pytest.raises(MissingWeightsError, match='lacks\n.*eva-g-p14'):
        zoo.settings(FULL[0], True, weights=str(folder))


def test_own_models_are_told_from_the_toolboxs():
    from mmengine.config import Config
    assert zoo.is_own_model('MiniGPT-4_vicuna-7b_vqa')
    assert zoo.is_own_model(str(zoo.config_path(FULL[0])))
    assert zoo.is_own_model(Config.fromfile(zoo.config_path(FULL[0])))
    assert not zoo.is_own_model('resnet18_8xb32_in1k')
    assert not zoo.is_own_model(Config(dict(model=dict(type='ResNet'))))
    assert not zoo.is_own_model(object())


def test_a_config_that_cannot_be_read_is_named(tmp_path):
    path = tmp_path / 'broken.py'
    path.write_text('model = undefined')
    with pytest.raises(ConfigError, match=r'broken\.py.*NameError'):
        get_model(str(path))
    with pytest.raises(ConfigError, match=r'nowhere\.py: there is no such'):
        get_model('nowhere.py')


def test_an_unknown_config_lists_those_there_are():
    with pytest.raises(FileNotFoundError, match='minigpt-4_vicuna-7b_vqa'):
        zoo.config_path('minigpt-5')


def test_a_wheel_has_its_index_inside_the_package(tmp_path, monkeypatch):
    package = tmp_path / 'site-packages' / 'mmpretrain_minigpt4'
    (package / '.mim' / 'configs' / 'minigpt4').mkdir(parents=True)
    (package / '.mim' / 'model-index.yml').write_text('Import: []')
    monkeypatch.setattr(zoo, 'PACKAGE', package)
    assert zoo.root() == package / '.mim'
    (package / '.mim' / 'model-index.yml').unlink()
    with pytest.raises(FileNotFoundError, match='install the package again'):
        zoo.root()


def test_the_model_index_names_the_metafile():
    index = yaml.safe_load((zoo.root() / 'model-index.yml').read_text())
    assert index == dict(Import=['configs/minigpt4/metafile.yml'])
    assert (zoo.root() / index['Import'][0]).is_file()


def test_an_environment_inside_the_checkout_does_not_hide_our_models():
    # As README has it: the toolbox then lies below the checkout's root.
    from types import SimpleNamespace

    seen = []
    toolbox = zoo.root() / '.venv/lib/mmpretrain/.mim/configs/x/metafile.yml'
    hub = SimpleNamespace(
        _models_dict={'x': SimpleNamespace(filepath=str(toolbox))},
        register_model_index=lambda index, config_prefix: seen.append(index))
    zoo.register(hub)
    assert seen == [zoo.root() / 'model-index.yml']
