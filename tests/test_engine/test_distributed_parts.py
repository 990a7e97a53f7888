# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""LoRA, quantised weights, validation and its answers in two processes."""

import importlib.util
import os

import pytest
from helpers.processes import needs_forks, results, together
from helpers.tiny_minigpt4 import (
    SGD,
    Pictures,
    Said,
    furthest,
    loader,
    new_model,
    trained,
    warm,
)
from helpers.tiny_run import Numbers, TinyModel, build

from mmpretrain_minigpt4.engine.checkpointing.snapshot import newest_whole

pytestmark = needs_forks
pytest.importorskip('peft')
OURS = 'mmpretrain_minigpt4.'
# As many tokens in each half of a batch.
EQUAL = Pictures(texts=('a red square', 'a red circle') * 2)
LIBRARIES = dict(int8='torchao', int4='bitsandbytes')


def lora(dropout=0.):
    """A model with LoRA that has an effect."""
    model = new_model(lora=dict(r=2, alpha=8, dropout=dropout))
    return warm(model)


def narrow():
    """One with LoRA that is cast when it is first used, as on a GPU."""
    model = lora()
    model.head.dtype = 'bfloat16'
    return model


def quantised(method):
    """One whose language model is quantised, where that can be done."""
    there = importlib.util.find_spec(LIBRARIES[method]) is not None
    return new_model(head=dict(quantization=method if there else 'none'))


def step(folder, model, batches=1, **options):
    """Train for a step of SGD, on some batches; gives what is trained."""
    build(folder, steps=batches, model=model, param_scheduler=None,
          wrapper=dict(SGD, accumulative_counts=batches), **options).train()
    return trained(model)


def validated(folder, model, data, launcher='none', answers=False,
              batch_size=2):
    """The validation loss, and the answers where a metric asks for them."""
    said = Said()
    runner = build(
        folder, model=model, launcher=launcher,
        val_dataloader=loader(data, batch_size),
        val_evaluator=[said] if answers else [],
        val_cfg=dict(type=OURS + 'LossValLoop'),
        custom_hooks=[dict(type=OURS + 'SampleAnswersHook', num_images=2)
                      ] if answers else [])
    return runner.val()['loss'], getattr(said, 'all', None)


def work(folder, rank):
    """What each process does."""
    both = dict(launcher='pytorch', loader=loader(EQUAL))
    report = dict(
        lora=step(folder / 'lora', lora(), **both),
        narrow=step(folder / 'narrow', narrow(), **both),
        summed=step(folder / 'summed', lora(), batches=2,
                    launcher='pytorch', loader=loader(EQUAL, batch_size=1)),
        **{method: step(folder / method, quantised(method), **both)
           for method in LIBRARIES})

    def stop():
        if rank == 0:
            os.kill(os.getpid(), 15)

    options = dict(launcher='pytorch', steps=6, loader=loader(Pictures(5)))
    for name, actions in (('whole', {}), ('cut', {2: stop})):
        model = lora(dropout=0.2)
        runner = build(folder / name, model=model, actions=actions, **options)
        try:
            runner.train()
        except SystemExit:
            before = runner.losses.values
            model = lora(dropout=0.2)
            runner = build(
                folder / name, model=model, resume=True, **options)
            runner.train()
            runner.losses.values[:0] = before
        report[name] = (runner.losses.values, trained(model))
    report.update(
        numbers=validated(folder / 'v1', TinyModel(), Numbers(5, noise=False),
                          'pytorch'),
        pictures=validated(folder / 'v2', new_model(), Pictures(5),
                           'pytorch', answers=True),
        few=validated(folder / 'v3', new_model(), Pictures(1), 'pytorch'))
    return report


@pytest.fixture(scope='module')
def two(tmp_path_factory):
    """The folder and the two reports."""
    lora()  # what this imports is imported before the fork
    folder = tmp_path_factory.mktemp('parts')
    return folder, results(
        together(lambda rank: work(folder, rank), folder))


@pytest.mark.parametrize('name, model, tolerance', [
    ('lora', lora, 1e-3), ('summed', lora, 1e-3), ('narrow', narrow, 1e-2),
    ('int8', lambda: quantised('int8'), 1e-3),
    ('int4', lambda: quantised('int4'), 1e-3)])
def test_the_gradient_is_that_of_one_process_with_the_doubled_batch(
        two, tmp_path, name, model, tolerance):
    if name in LIBRARIES:
        pytest.importorskip(LIBRARIES[name])
    one = step(tmp_path, model(), loader=loader(EQUAL, batch_size=4))
    before = trained(model())
    assert len(one) == (2 if name in LIBRARIES else 10)
    first, second = (report[name] for report in two[1])
    assert furthest(first, second) == 0
    for k in one:
        step_length = furthest({k: one[k]}, {k: before[k]})
        assert step_length > 1e-4
        assert furthest({k: first[k]}, {k: one[k]}) < tolerance * step_length


def test_a_resumed_run_with_lora_is_the_uninterrupted_one(two):
    folder, reports = two
    for report in reports:
        assert len(report['whole'][0]) == 6
        assert report['cut'][0] == report['whole'][0]
        assert furthest(report['cut'][1], report['whole'][1]) == 0
    # Dropout and data are each process's own, what is trained is not.
    assert reports[0]['whole'][0] != reports[1]['whole'][0]
    assert furthest(reports[0]['cut'][1], reports[1]['cut'][1]) == 0
    snapshot, _ = newest_whole(folder / 'cut')
    assert len(snapshot.tensors('trained')) == 10
    assert (folder / 'cut' / 'iter_000003').is_dir()


@pytest.mark.parametrize('batch_size', [1, 2, 5])
def test_a_validation_loss_is_that_of_one_process(two, tmp_path, batch_size):
    # Five samples in two processes: the sampler shows one of them twice.
    for name, model, data in (
            ('numbers', TinyModel(), Numbers(5, noise=False)),
            ('pictures', new_model(), Pictures(5)),
            ('few', new_model(), Pictures(1))):
        one, _ = validated(tmp_path / name, model, data,
                           batch_size=batch_size)
        for report in two[1]:
            assert report[name][0] == pytest.approx(one, rel=1e-6)


def test_each_sample_is_answered_once_and_in_order(two, tmp_path):
    folder, (first, second) = two
    _, said = validated(tmp_path, new_model(), Pictures(5), answers=True)
    assert len(said) == 5 and len(set(said)) > 1
    assert first['pictures'][1] == said and second['pictures'][1] is None
    texts = [next(x.glob('samples/*.txt')).read_text()
             for x in (folder / 'v2', tmp_path)]
    assert texts[0] == texts[1]
