# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""``--dtype`` and ``--quantization`` reach the model, whatever the command."""

import json

import pytest
from mmengine.config import Config

from mmpretrain_minigpt4.apis import CaptionInferencer
from mmpretrain_minigpt4.cli import main, options, scripts
from mmpretrain_minigpt4.cli.main import build_parser
from mmpretrain_minigpt4.datasets.shapes import TEST_SEED, draw_scene
from mmpretrain_minigpt4.datasets.shapes.language import read_description
from mmpretrain_minigpt4.errors import ConfigError
from mmpretrain_minigpt4.llm.dtypes import DTYPES
from mmpretrain_minigpt4.llm.quantization.methods import (
    QUANTIZATIONS,
    is_quantized,
)

OPTIONS = ['--dtype', 'bfloat16', '--quantization', 'int8']


def test_the_help_names_what_the_model_knows():
    assert options.QUANTIZATIONS == QUANTIZATIONS
    assert set(options.DTYPES) == {'auto'} | {
        name for name in DTYPES if 'float' in name}


@pytest.mark.parametrize('command', [
    ['caption', 'x.png'], ['ask', 'x.png', 'what?'], ['eval', 'mme']])
def test_answering_commands_take_both(command):
    args = build_parser().parse_args([*command, *OPTIONS])
    assert (args.dtype, args.quantization) == ('bfloat16', 'int8')


@pytest.mark.parametrize('parser', [
    scripts._train_parser, scripts._test_parser])
def test_scripts_put_both_into_the_config(parser):
    args = parser().parse_args(['config.py', *OPTIONS])
    cfg = Config(dict(model=dict(head=dict(type='VicunaHead'))))
    options.apply_precision(cfg, args)
    assert cfg.model.dtype == cfg.model.head.dtype == 'bfloat16'
    assert cfg.model.head.quantization == 'int8'
    with pytest.raises(ConfigError, match='language model'):
        options.apply_precision(Config(dict(model=dict())), args)


def test_a_quantised_tiny_twin_still_describes_truly():
    scenes = [draw_scene(TEST_SEED + i) for i in range(4)]
    plain, small = (
        CaptionInferencer('minigpt-4_tiny_caption', quantization=name)
        for name in (None, 'int8'))
    assert is_quantized(small.model.head.llm)
    texts = [[read_description(item['pred_caption'])
              for item in one([s.image for s in scenes], batch_size=4)]
             for one in (plain, small)]
    same = sum(a == b for a, b in zip(*texts, strict=True))
    assert same >= 3


def test_a_quantised_model_is_evaluated_by_one_command(
        tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ['eval', 'minigpt-4_tiny_shapes', '--limit', '2', '--json']
    assert main([*words, *OPTIONS]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row['samples']['answered'] == 2
    out = tmp_path / 'work_dirs' / 'eval' / 'default_bfloat16_int8'
    summary = json.loads((out / 'minigpt-4_tiny_shapes.json').read_text())
    assert summary['precision'] == dict(
        vision='bfloat16', language_model='bfloat16', quantization='int8')
    # Its answers are not gone on with by the same model in other numbers.
    assert main([*words, '--out', str(out)]) == 3
    told = json.loads(capsys.readouterr().out)['error']
    assert "precision.quantization (there 'int8', now 'none')" in told
