# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""A language model spread over two real processes, on CPUs."""

import json

import pytest
import torch
from helpers.processes import needs_forks, results, together
from helpers.tiny_minigpt4 import (
    SGD,
    Pictures,
    Said,
    after_a_step,
    furthest,
    loader,
    new_model,
    trained,
    warm,
)
from helpers.tiny_run import build
from safetensors.torch import load_file
from torch import nn
from torch.distributed.tensor import DTensor

from mmpretrain_minigpt4.engine.checkpointing.run_state import load_trained
from mmpretrain_minigpt4.engine.distributed import sharding
from mmpretrain_minigpt4.errors import ConfigError

OURS = 'mmpretrain_minigpt4.'
LORA = dict(r=2, alpha=8, target_modules=['q_proj', 'v_proj'])


def shares(model):
    """The numbers of each shared weight, here and in all."""
    return {name: (x.to_local().numel(), x.numel())
            for name, x in model.head.llm.named_parameters()
            if isinstance(x, DTensor)}


def run(folder, launcher='none', weights=None):
    """Train for a step, validate with answers, and test on three.

    With ``weights``, those are taken in place of the step's.
    """
    model, said = new_model(), Said()
    runner = build(
        folder, steps=1, model=model, launcher=launcher,
        loader=loader(Pictures()), param_scheduler=None, wrapper=SGD,
        cfg=dict(shard_language_model=launcher != 'none'),
        val_dataloader=loader(Pictures(3), batch_size=1),
        val_cfg=dict(type=OURS + 'LossValLoop'), val_evaluator=[said],
        test_dataloader=loader(Pictures(3), batch_size=1),
        test_cfg=dict(type=OURS + 'EvalLoop', report=0),
        test_evaluator=[Said()],
        custom_hooks=[dict(type=OURS + 'SampleAnswersHook', num_images=2)])
    before = shares(model)
    if weights is None:
        runner.train()
    else:
        load_trained(model, weights)
        runner.val()
    runner.test()
    first, *answers = map(json.loads, (
        folder / 'answers.jsonl').read_text().splitlines())
    return model, dict(
        before=before, after=shares(model), trained=trained(model),
        said=getattr(said, 'all', None),
        loss=runner.message_hub.get_scalar('val/loss').current(),
        tested=[x['pred_caption'] for x in answers],
        weights=first['run']['settings']['weights'])


def work(folder, rank):
    """What each process does."""
    model, report = run(folder / 'shared', 'pytorch')
    try:
        model(torch.randn(1, 3, 28, 28), mode='predict')
    except ConfigError as error:
        report['alone'] = str(error)

    model = warm(new_model(lora=LORA))
    build(folder / 'lora', steps=1, model=model, launcher='pytorch',
          loader=loader(Pictures()),
          param_scheduler=None, wrapper=SGD,
          cfg=dict(shard_language_model=True)).train()
    report.update(lora=trained(model), lora_shares=shares(model))
    return report


@pytest.fixture(scope='module')
def two(tmp_path_factory):
    """The folder of a run, and the two reports."""
    pytest.importorskip('peft')
    new_model(lora=LORA)  # what this imports is imported before the fork
    folder = tmp_path_factory.mktemp('sharded')
    return folder, results(
        together(lambda rank: work(folder, rank), folder))


@pytest.fixture(scope='module')
def one(two, tmp_path_factory):
    """What one process, which holds the whole, says with their weights."""
    folder = tmp_path_factory.mktemp('whole')
    return folder, run(folder, weights=two[1][0]['trained'])[1]


@needs_forks
@pytest.mark.parametrize('name', ['before', 'after', 'lora_shares'])
def test_each_process_holds_half_of_the_layers(two, name):
    _, reports = two
    for report in reports:
        # 2 layers of 9 weights, the last norm and the output head; also
        # after layers were computed with.
        assert len(report[name]) == 20
    for weight, (own, whole) in reports[0][name].items():
        assert own + reports[1][name][weight][0] == whole
        assert own <= whole // 2


@needs_forks
@pytest.mark.parametrize('name, lora', [('trained', None), ('lora', LORA)])
def test_what_is_trained_learns_as_beside_a_whole_one(two, name, lora):
    model = warm(new_model(lora=lora))
    # In the sampler's order.
    wanted = after_a_step(model, [(0, 2), (1, 3)])
    assert len(wanted) == (10 if lora else 2)
    assert all(furthest({k: wanted[k]}, {k: trained(model)[k]}) > 1e-4
               for k in wanted)
    for report in two[1]:
        assert furthest(report[name], wanted) < 1e-6


@needs_forks
def test_checkpoints_hold_only_what_was_trained(two):
    folder, _ = two
    for run, number in (('shared', 2), ('lora', 10)):
        path, = (folder / run).rglob('trained.safetensors')
        names = set(load_file(path))
        assert len(names) == number
        assert not [x for x in names if 'llm' in x and '.lora_' not in x]


@needs_forks
def test_a_sharded_model_answers_as_a_whole_one(two, one):
    (folder, (first, second)), (alone, whole) = two, one
    # Three samples in two processes: one has more to say.
    assert len(whole['said']) == 3 and all(whole['said'])
    assert first['said'] == whole['tested'] == whole['said']
    assert first['tested'] == whole['tested']
    # So one can go on where the other was broken off.
    assert first['weights'] == whole['weights']
    texts = [next(x.glob('samples/*.txt')).read_text()
             for x in (folder / 'shared', alone)]
    assert texts[0] == texts[1] and texts[0].count('answer: ') == 2
    assert first['loss'] == second['loss'] == pytest.approx(whole['loss'])


@needs_forks
def test_a_process_that_would_answer_alone_is_refused(two):
    for report in two[1]:
        assert 'LossValLoop' in report['alone']


def test_what_cannot_be_sharded_says_why(monkeypatch):
    monkeypatch.setattr(sharding, 'get_world_size', lambda: 1)
    model = nn.Module()
    with pytest.raises(ConfigError, match='no language model'):
        sharding.shard_language_model(model)
    model.head = nn.Module()
    model.head.llm = nn.Linear(2, 2)
    with pytest.raises(ConfigError, match='frozen'):
        sharding.shard_language_model(model)
    model.head.llm.requires_grad_(False)
    with pytest.raises(ConfigError, match='torchrun'):
        sharding.shard_language_model(model)
    model.head.llm.weight = nn.Parameter(
        torch.zeros(2, 2, dtype=torch.uint8), requires_grad=False)
    with pytest.raises(ConfigError, match='either quantised or sharded'):
        sharding.shard_language_model(model)
