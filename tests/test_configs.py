# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Every config loads, is printed whole, and builds its model."""

import json
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from mmpretrain_minigpt4 import zoo
from mmpretrain_minigpt4.errors import MissingWeightsError
from mmpretrain_minigpt4.registry import MODELS

FOLDER = Path(__file__).resolve().parents[1] / 'configs' / 'minigpt4'
CONFIGS = sorted(FOLDER.rglob('minigpt-4_*.py'))
JOBS = [path for path in CONFIGS if '_base_' not in path.parts]
PARAMETERS = {
    'minigpt-4_vicuna-7b_caption': 7_832_625_024,
    'minigpt-4_vicuna-7b_vqa': 7_832_625_024,
    'minigpt-4_vicuna-13b_caption': 14_110_861_184,
    'minigpt-4_vicuna-13b_vqa': 14_110_861_184,
    'minigpt-4_llama2-7b_caption': 7_747_385_728,
    'minigpt-4_llama2-7b_vqa': 7_747_385_728,
}
# The language models, by the width of the projection that goes into them.
LLAMA = dict(model_type='llama', vocab_size=32000)
LLMS = {
    4096:
    dict(
        LLAMA,
        hidden_size=4096,
        intermediate_size=11008,
        num_hidden_layers=32,
        num_attention_heads=32),
    5120:
    dict(
        LLAMA,
        hidden_size=5120,
        intermediate_size=13824,
        num_hidden_layers=40,
        num_attention_heads=40),
}


def build_meta(cfg):
    """Build a config's model without memory, and without its LLM's folder."""
    model = cfg.model.to_dict()
    width = model['projector']['out_channels']
    if width in LLMS:
        model['head']['llm'] = dict(config=LLMS[width])
    with torch.device('meta'):
        return MODELS.build(model)


def read(path):
    """Read a config; those of the tiny twin need its language model."""
    cfg = Config.fromfile(path)
    llm = cfg.model.get('head', {}).get('llm')
    if isinstance(llm, str) and llm.startswith('asset://'):
        from mmpretrain_minigpt4.assets import resolve
        try:
            resolve(llm)
        except MissingWeightsError:
            pytest.skip("the tiny twin's weights are not in this checkout")
    return cfg


def same(text):
    return json.loads(json.dumps(text))


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_a_config_survives_being_dumped(path, tmp_path):
    cfg = Config.fromfile(path)
    cfg.dump(tmp_path / 'dumped.py')
    again = Config.fromfile(tmp_path / 'dumped.py')
    assert same(again.to_dict()) == same(cfg.to_dict())


@pytest.mark.parametrize('path', JOBS, ids=lambda path: path.stem)
def test_a_job_opens_with_its_command_hardware_and_number(path):
    head = path.read_text().split('_base_ =')[0]
    assert f'configs/minigpt4/{path.relative_to(FOLDER)}' in head
    assert 'Hardware:' in head
    # What a stage of training gives is seen by the test config after it.
    assert 'xpected' in head or 'minutes' in head


@pytest.mark.parametrize('path', JOBS, ids=lambda path: path.stem)
def test_a_jobs_model_builds(path):
    cfg = read(path)
    model = build_meta(cfg)
    number = sum(p.numel() for p in model.parameters())
    entry = {e.name: e for e in zoo.entries()}.get(path.stem)
    if entry is not None:
        assert number == entry.parameters
    assert number == PARAMETERS.get(path.stem, number)
    assert all(p.is_meta for p in model.parameters())


def test_every_model_of_the_metafile_has_its_config_and_count():
    names = {entry.name for entry in zoo.entries()}
    assert set(PARAMETERS) <= names
    for entry in zoo.entries():
        assert entry.config.is_file() and entry.config.stem == entry.name


def test_parts_have_the_published_numbers_of_parameters():
    model = build_meta(read(FOLDER / 'minigpt-4_vicuna-7b_caption.py'))

    def count(part):
        return sum(p.numel() for p in part.parameters())

    assert count(model.backbone.ln_vision) == 2_816
    assert count(model.backbone) == 985_894_528 + 2_816
    assert count(model.neck) == 105_137_664 + 24_576
    assert count(model.projector) == 3_149_824


def test_a_slip_in_a_config_is_named():
    cfg = read(FOLDER / 'minigpt-4_vicuna-7b_caption.py')
    cfg.model.backbone.embed_dim = 3
    with pytest.raises(ValueError, match='"embed_dim"; near ones: embed_dims'):
        build_meta(cfg)
