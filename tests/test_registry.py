# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The package's types are found from everywhere, and slips are named."""

import mmengine.registry
import mmpretrain.registry
import pytest
from mmengine.registry import DefaultScope

from mmpretrain_minigpt4 import registry
from mmpretrain_minigpt4.errors import ConfigError

PARTS = ('EVAViT', 'QFormer', 'PatchMerger', 'LinearProjector', 'VicunaHead',
         'MiniGPT4')


@pytest.mark.parametrize('scope', [
    None, 'mmengine', 'mmpretrain', 'mmpretrain_minigpt4'
])
@pytest.mark.parametrize('root', [
    mmengine.registry.MODELS, mmpretrain.registry.MODELS, registry.MODELS
])
def test_parts_are_found_under_every_scope(scope, root):
    with DefaultScope.overwrite_default_scope(scope):
        for name in PARTS:
            found = root.get(f'mmpretrain_minigpt4.{name}')
            assert found.__name__ == name
            assert found.__module__.startswith('mmpretrain_minigpt4.models')


def test_the_toolbox_keeps_its_own_name():
    theirs = mmpretrain.registry.MODELS.get('MiniGPT4')
    assert theirs is not registry.MODELS.get('MiniGPT4')


def test_data_and_metrics_are_found():
    root = mmengine.registry
    for kind, name in ((root.TRANSFORMS, 'LoadImage'),
                       (root.DATASETS, 'ShapesDataset'),
                       (root.METRICS, 'CaptionScores')):
        assert kind.get(f'mmpretrain_minigpt4.{name}').__name__ == name


def test_a_slip_in_a_parts_config_names_near_settings():
    cfg = dict(type='mmpretrain_minigpt4.LinearProjector', in_chanels=3)
    with pytest.raises(ConfigError, match='"in_chanels"; near ones: in_chan'):
        registry.MODELS.build(cfg)
    assert cfg == dict(
        type='mmpretrain_minigpt4.LinearProjector', in_chanels=3)


def test_a_setting_that_is_like_no_other_gets_the_list_of_all():
    with pytest.raises(ConfigError, match='It has num_patches, init_cfg'):
        registry.MODELS.build(dict(type='PatchMerger', xyzzy=1))


@pytest.mark.parametrize('root', [
    mmengine.registry.MODELS, mmpretrain.registry.MODELS, registry.MODELS
])
def test_a_slip_in_the_models_own_config_is_named_by_every_registry(root):
    cfg = dict(type='mmpretrain_minigpt4.MiniGPT4', freez=())
    with pytest.raises(ConfigError, match='"freez"; near ones: freeze'):
        root.build(cfg)
