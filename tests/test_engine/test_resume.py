# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""A run that is stopped and resumed is the run that was not."""

import json
import os
import shutil
import signal

import pytest
import torch
from helpers.processes import fork
from helpers.tiny_run import Numbers, TinyModel, build, train
from mmengine.dataset import DefaultSampler
from torch.utils.data import IterableDataset

from mmpretrain_minigpt4.engine.checkpointing.snapshot import (
    list_snapshots,
    newest_whole,
)
from mmpretrain_minigpt4.errors import CheckpointError, ConfigError

STEPS = 20


def send(number):
    return lambda: os.kill(os.getpid(), number)


def stopped(work_dir, step, number=signal.SIGTERM, **kwargs):
    """Train until a signal comes in a step; the losses so far."""
    runner = build(work_dir, actions={step: send(number)}, **kwargs)
    with pytest.raises(SystemExit) as end:
        runner.train()
    assert end.value.code == 128 + number
    return runner.losses.values


def weights(work_dir):
    found, problems = newest_whole(work_dir)
    assert not problems
    return found.tensors('trained')


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """The losses and the weights of a run that nothing stopped."""
    root = tmp_path_factory.mktemp('whole')
    return train(root), weights(root)


@pytest.mark.parametrize('step', [0, 6, 18])
def test_a_run_goes_on_bit_for_bit(tmp_path, whole, step):
    before = stopped(tmp_path, step)
    after = train(tmp_path, resume=True)
    assert len(before) == step + 1
    assert before + after == whole[0]
    for name, weight in weights(tmp_path).items():
        assert torch.equal(weight, whole[1][name])


def test_an_interrupt_ends_with_130_and_a_checkpoint(tmp_path, whole):
    before = stopped(tmp_path, 3, signal.SIGINT)
    assert before + train(tmp_path, resume=True) == whole[0]


def test_a_second_interrupt_ends_at_once(tmp_path):

    def twice():
        send(signal.SIGINT)()
        send(signal.SIGINT)()

    runner = build(tmp_path, actions={2: twice})
    with pytest.raises(KeyboardInterrupt):
        runner.train()


def test_the_signals_are_given_back(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    stopped(tmp_path, 1)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_kill_in_training_goes_on_bit_for_bit(tmp_path, whole):
    child = fork()
    if child == 0:
        train(tmp_path, actions={13: send(signal.SIGKILL)})
        os._exit(1)
    status = os.waitpid(child, 0)[1]
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL
    # The last checkpoint is of step 10.
    assert train(tmp_path, resume=True) == whole[0][10:]


def test_resume_passes_over_a_broken_checkpoint(tmp_path, whole):
    stopped(tmp_path, 11)
    newest = list_snapshots(tmp_path)[0]
    assert newest.name == 'iter_000012'
    (newest / 'optimizer.safetensors').write_bytes(b'')
    assert train(tmp_path, resume=True) == whole[0][10:]
    assert (tmp_path / 'superseded' / '1' / 'iter_000012').is_dir()


def test_resume_from_an_older_checkpoint_keeps_the_newer(tmp_path, whole):
    train(tmp_path, hook=dict(max_keep=0))
    older = tmp_path / 'iter_000005'
    assert train(
        tmp_path, resume=True, load_from=str(older)) == whole[0][5:]
    kept = tmp_path / 'superseded' / '1'
    assert sorted(x.name for x in kept.iterdir()) == [
        'iter_000010', 'iter_000015', 'iter_000020'
    ]


def test_resume_from_the_folder_of_another_run(tmp_path, whole):
    stopped(tmp_path / 'first', 7)
    losses = train(
        tmp_path / 'second', resume=True, load_from=str(tmp_path / 'first'))
    assert losses == whole[0][8:]


def test_resume_without_a_checkpoint_starts(tmp_path, whole):
    assert train(tmp_path, resume=True) == whole[0]


def test_resume_of_a_finished_run_trains_no_more(tmp_path):
    train(tmp_path, steps=5)
    assert train(tmp_path, steps=5, resume=True) == []


def test_a_new_run_does_not_delete_an_earlier_one(tmp_path):
    train(tmp_path, steps=5)
    train(tmp_path, steps=3)
    assert [x.name for x in list_snapshots(tmp_path)] == ['iter_000003']
    assert (tmp_path / 'superseded' / '1' / 'iter_000005').is_dir()


def test_only_so_many_checkpoints_stay(tmp_path):
    train(tmp_path, hook=dict(interval=2, max_keep=2))
    assert [x.name for x in list_snapshots(tmp_path)
            ] == ['iter_000020', 'iter_000018']


def test_accumulation_is_never_cut_in_two(tmp_path):
    wrapper = dict(accumulative_counts=3)
    whole = train(tmp_path / 'whole', wrapper=wrapper)
    before = stopped(tmp_path / 'cut', 6, wrapper=wrapper)
    assert len(before) == 9
    after = train(tmp_path / 'cut', wrapper=wrapper, resume=True)
    assert before + after == whole


def test_data_workers_read_on_where_training_was(tmp_path):
    options = dict(dataset=Numbers(noise=False), loader=dict(num_workers=2))
    alone = train(tmp_path / 'alone', dataset=Numbers(noise=False))
    before = stopped(tmp_path / 'cut', 6, **options)
    assert before + train(tmp_path / 'cut', resume=True, **options) == alone


def test_epochs_of_a_finite_sampler_go_on(tmp_path):
    # 100 points, 4 a step: an epoch is 25 steps.
    options = dict(
        steps=40,
        loader=dict(sampler=dict(type='DefaultSampler', shuffle=True)))
    whole = train(tmp_path / 'whole', **options)
    for step in (24, 30):
        cut = tmp_path / f'cut{step}'
        before = stopped(cut, step, **options)
        assert before + train(cut, resume=True, **options) == whole


class Stream(IterableDataset):
    """Counts for ever, and knows what training has seen of it."""

    def __init__(self):
        self.seen = 0

    def __iter__(self):
        number = self.seen
        while True:
            yield dict(
                inputs=torch.full((4, ), number % 13 / 13),
                data_samples=torch.tensor(number / 10))
            number += 1

    def __len__(self):
        return 1000

    def note_batch(self, batch):
        self.seen += len(batch['inputs'])

    def state_dict(self):
        return dict(seen=self.seen)

    def load_state_dict(self, state):
        self.seen = state['seen']


def test_a_stream_is_asked_for_its_own_position(tmp_path):
    loader = dict(sampler=None, num_workers=1)
    whole = train(tmp_path / 'whole', dataset=Stream(), loader=loader)
    before = stopped(tmp_path / 'cut', 8, dataset=Stream(), loader=loader)
    state = newest_whole(tmp_path / 'cut')[0].state
    assert state['ranks'][0]['data']['parts'] == {'dataset': {'seen': 36}}
    after = train(
        tmp_path / 'cut', dataset=Stream(), loader=loader, resume=True)
    assert before + after == whole


def test_a_position_of_more_processes_is_refused(tmp_path):
    runner = build(tmp_path, dataset=Stream(), loader=dict(sampler=None))
    loop = runner.build_train_loop(runner._train_loop)
    state = loop.batches.state_dict()
    with pytest.raises(CheckpointError, match='in 2 processes'):
        loop.batches.load_state_dicts([state, state], 0)


def test_another_batch_size_goes_on_at_the_same_sample(tmp_path):
    stopped(tmp_path, 9)
    runner = build(tmp_path, resume=True, loader=dict(batch_size=8))
    loop = runner._train_loop = runner.build_train_loop(runner._train_loop)
    states = newest_whole(tmp_path)[0].state['ranks']
    loop.batches.load_state_dicts([x['data'] for x in states], 0)
    assert loop.batches.batches == 5


def test_another_config_is_warned_of(tmp_path):
    config = dict(a=1)
    from mmengine.config import Config
    stopped(tmp_path, 3, cfg=Config(config))
    runner = build(tmp_path, resume=True, cfg=Config(dict(a=2)))
    warned = []
    runner.logger.warning = warned.append
    runner.train()
    assert any('another config' in text for text in warned)


def test_a_checkpoint_of_other_parameters_is_refused(tmp_path):

    class Wider(TinyModel):

        def __init__(self):
            super().__init__()
            self.projector = torch.nn.Linear(8, 5)

    stopped(tmp_path, 2)
    with pytest.raises(CheckpointError, match=r'\[3, 8\].*\[5, 8\]'):
        train(tmp_path, model=Wider(), resume=True)
    shutil.rmtree(tmp_path / 'superseded', ignore_errors=True)
    model = TinyModel()
    model.frozen.requires_grad_(True)
    with pytest.raises(CheckpointError, match='frozen.bias'):
        train(tmp_path, model=model, resume=True)


def test_an_optimizer_without_a_state_goes_on(tmp_path):
    plain = dict(optimizer=dict(type='SGD', lr=0.01, weight_decay=0.))
    whole = train(tmp_path / 'whole', wrapper=plain, steps=6)
    before = stopped(tmp_path / 'parts', 2, wrapper=plain, steps=6)
    after = train(tmp_path / 'parts', wrapper=plain, steps=6, resume=True)
    assert before + after == whole


def test_a_state_with_a_part_missing_is_refused(tmp_path):
    from mmpretrain_minigpt4.engine.checkpointing import snapshot
    stopped(tmp_path, 2)
    file = list_snapshots(tmp_path)[0] / 'state.json'
    state = json.loads(file.read_text())
    del state['sha256'], state['wrapper']
    snapshot._write_state(file, state)
    with pytest.raises(CheckpointError, match='does not fit this run'):
        train(tmp_path, resume=True)


def test_the_toolbox_checkpoint_is_refused_and_not_run(tmp_path):
    file = tmp_path / 'epoch_1.pth'
    torch.save(dict(meta=dict(config='raise SystemExit(1)')), file)
    with pytest.raises(CheckpointError, match='is a file'):
        train(tmp_path, resume=True, load_from=str(file))


def test_resume_needs_the_hook(tmp_path):
    runner = build(tmp_path, resume=True, default_hooks=dict(checkpoint=None))
    with pytest.raises(ConfigError, match='TrainingCheckpointHook'):
        runner.train()


@pytest.mark.parametrize('part', [
    dict(train_cfg=dict(by_epoch=False, max_iters=3)),
    dict(wrapper=dict(type='OptimWrapper')),
])
def test_the_hook_needs_the_parts_it_saves(tmp_path, part):
    with pytest.raises(ConfigError, match='mmpretrain_minigpt4'):
        train(tmp_path, **part)


def test_a_read_only_work_dir_ends_in_one_line(tmp_path, monkeypatch):
    runner = build(tmp_path)

    def refuse(*args, **kwargs):
        raise PermissionError(13, 'Permission denied')

    monkeypatch.setattr(
        'mmpretrain_minigpt4.engine.checkpointing.snapshot'
        '.write_safetensors', refuse)
    with pytest.raises(CheckpointError, match='cannot be written') as error:
        runner.train()
    assert '\n' not in str(error.value)
    assert list_snapshots(tmp_path) == []


def test_samplers_without_set_epoch_are_left_alone(tmp_path):
    sampler = DefaultSampler(Numbers(), shuffle=False)
    assert len(train(tmp_path, steps=2, loader=dict(sampler=sampler))) == 2
