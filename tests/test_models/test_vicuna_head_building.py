# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""What the head says of folders and settings that do not fit."""

import json
import shutil
import time
import warnings

import pytest
import torch
from helpers.tiny_llm import LLAMA, write_tokenizer
from mmpretrain.structures import DataSample

from mmpretrain_minigpt4.errors import (
    CheckpointError,
    ConfigError,
    MissingWeightsError,
)
from mmpretrain_minigpt4.models.heads import VicunaHead

BOS, EOS, IMAGE = 1, 2, -1
NEWLINE = 3 + 10  # the byte 0x0A


def sample(**fields):
    made = DataSample()
    for key, value in fields.items():
        made.set_field(value, key)
    return made


@pytest.mark.parametrize('llm', ['no/such/folder', '', None])
def test_a_missing_model_says_what_to_get_at_once(llm):
    begin = time.perf_counter()
    with pytest.raises(MissingWeightsError) as error:
        VicunaHead(llm=llm)
    assert time.perf_counter() - begin < 1
    for word in ('Vicuna-7B v0', 'config.json', 'safetensors',
                 'tokenizer.model', 'VICUNA_DIR'):
        assert word in str(error.value)


def test_a_folder_without_config_or_weights_is_named(llm_folder, tmp_path):
    with pytest.raises(MissingWeightsError, match='no config.json'):
        VicunaHead(llm=str(tmp_path))
    for name in ('config.json', 'tokenizer.model'):
        shutil.copy(llm_folder / name, tmp_path)
    with pytest.raises(MissingWeightsError, match='no weights'):
        VicunaHead(llm=str(tmp_path))
    (tmp_path / 'model.safetensors').write_bytes(b'')
    with pytest.raises(CheckpointError, match='cannot be read'):
        VicunaHead(llm=str(tmp_path))


def test_incomplete_weights_are_refused(llm_folder, tmp_path):
    from safetensors.torch import load_file, save_file
    folder = shutil.copytree(llm_folder, tmp_path / 'llm')
    weights = load_file(folder / 'model.safetensors')
    del weights['model.layers.1.mlp.up_proj.weight']
    save_file(
        weights, folder / 'model.safetensors', metadata=dict(format='pt'))
    with pytest.raises(CheckpointError, match='lack 1 tensors.*up_proj'):
        VicunaHead(llm=str(folder))


def test_a_model_that_wants_code_run_is_refused(llm_folder, tmp_path):
    config = json.loads((llm_folder / 'config.json').read_text())
    config['auto_map'] = dict(AutoConfig='evil.Config')
    (tmp_path / 'config.json').write_text(json.dumps(config))
    with pytest.raises(ConfigError, match='auto_map'):
        VicunaHead(llm=str(tmp_path))


def test_a_tokenizer_larger_than_the_embeddings_is_refused(
        llm_folder, tmp_path):
    folder = shutil.copytree(llm_folder, tmp_path / 'llm')
    config = json.loads((folder / 'config.json').read_text())
    config['vocab_size'] = 99
    (folder / 'config.json').write_text(json.dumps(config))
    with pytest.raises(ConfigError, match='embeddings for 99'):
        VicunaHead(llm=str(folder))


def test_a_projection_of_another_size_names_both_models():
    small = dict(config=LLAMA | dict(hidden_size=4096))
    with pytest.raises(ConfigError, match='a 13B projection.*a 7B language'):
        VicunaHead(llm=small, in_channels=5120)


@pytest.mark.parametrize('name, warned', [
    ('vicuna-7b-v1.1', True), ('vicuna_7b_v1.5', True),
    ('vicuna-7b-delta-v0', True), ('vicuna-7b-v0', False), ('llm', False)
])
def test_another_vicuna_is_warned_of(llm_folder, tmp_path, name, warned):
    folder = shutil.copytree(llm_folder, tmp_path / name)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter('always')
        VicunaHead(llm=str(folder))
    seen = [str(w.message) for w in seen if 'Vicuna v0' in str(w.message)]
    assert len(seen) == warned


@pytest.mark.parametrize('settings, match', [
    (dict(task='chat'), 'no task'),
    (dict(dtype='float8'), 'no dtype'),
    (dict(question_template='{}'), 'exactly once'),
    (dict(max_txt_len=0), 'max_txt_len'),
    (dict(template='alpaca'), 'no prompt template'),
    (dict(llm=dict(conf=1)), 'keys `config`'),
    (dict(llm=dict(config=dict(model_type='llamma'))), 'transformers'),
])
def test_wrong_settings_are_told_before_anything_is_read(settings, match):
    with pytest.raises(ConfigError, match=match):
        VicunaHead(**(dict(llm='no/such/folder') | settings))


@pytest.mark.skipif(torch.cuda.is_available(), reason='about CPUs')
def test_float16_on_a_cpu_is_refused():
    with pytest.raises(ConfigError, match='float16.*not for CPUs'):
        VicunaHead(llm=dict(config=LLAMA), dtype='float16')


@pytest.mark.skipif(torch.cuda.is_available(), reason='about CPUs')
def test_half_precision_files_are_computed_in_float32_on_a_cpu(
        llm_folder, tmp_path):
    from safetensors.torch import load_file, save_file
    folder = shutil.copytree(llm_folder, tmp_path / 'llm')
    weights = load_file(folder / 'model.safetensors')
    save_file({k: v.half()
               for k, v in weights.items()},
              folder / 'model.safetensors',
              metadata=dict(format='pt'))
    head = VicunaHead(llm=str(folder))
    assert {p.dtype for p in head.parameters()} == {torch.float32}
    head = VicunaHead(llm=str(folder), dtype='bfloat16')
    assert {p.dtype for p in head.parameters()} == {torch.bfloat16}


def test_a_full_size_model_is_built_on_the_meta_device_at_once():
    vicuna = LLAMA | dict(
        vocab_size=32000,
        hidden_size=4096,
        intermediate_size=11008,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=32)
    with torch.device('meta'):
        head = VicunaHead(llm=dict(config=vicuna))
    assert sum(p.numel() for p in head.parameters()) == 6_738_415_616
    assert head.embed_dims == 4096


def test_a_model_without_tokenizer_says_so_when_text_is_needed(visual):
    head = VicunaHead(llm=dict(config=LLAMA))
    with pytest.raises(ConfigError, match='no tokenizer'):
        head.predict(visual[:1], [sample(prompt='a')])


def test_a_tokenizer_may_lie_elsewhere(tmp_path, visual):
    write_tokenizer(tmp_path / 'tokenizer.model')
    head = VicunaHead(llm=dict(config=LLAMA), tokenizer=str(tmp_path))
    head.predict(visual[:1], [sample(prompt='a')], max_new_tokens=2)
