# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""A run that looks after itself: NaNs, precision, memory, numbers to read."""

import math
import os
import signal

import pytest
import torch
from helpers.tiny_run import Numbers, TinyModel, build, train
from mmengine.structures import BaseDataElement
from PIL import Image

from mmpretrain_minigpt4.engine.checkpointing.snapshot import (
    list_snapshots,
    newest_whole,
)
from mmpretrain_minigpt4.engine.hooks.sample_answers import draw_grid
from mmpretrain_minigpt4.engine.runners.runner import (
    recompute,
    with_tensorboard,
)
from mmpretrain_minigpt4.errors import ConfigError, NotFiniteError


class Faulty(TinyModel):
    """Its loss or gradient is broken in given steps."""

    def __init__(self, steps, fault):
        super().__init__(dropout=0.)
        self.steps = set(steps)
        self.fault = fault
        self.step = -1

    def forward(self, *args, **kwargs):
        self.step += 1
        loss = super().forward(*args, **kwargs)['loss']
        if self.step in self.steps:
            if self.fault == 'gradient':
                # Finite, with an infinite slope.
                loss = loss + (self.projector.weight[0, 0] * 0).sqrt()
            else:
                loss = loss * float(self.fault)
        return dict(loss=loss)


def parameters(runner):
    return {
        name: p.detach().clone()
        for name, p in runner.model.named_parameters()
    }


@pytest.mark.parametrize('fault', ['nan', 'inf', 'gradient'])
def test_a_bad_step_changes_nothing(tmp_path, fault):
    runner = build(tmp_path, model=Faulty([2], fault), steps=3)
    seen = []
    runner.losses.actions = {
        step: lambda: seen.append(parameters(runner))
        for step in range(3)
    }
    runner.train()
    assert runner.optim_wrapper.bad_steps == 1
    assert not torch.equal(seen[0]['projector.weight'],
                           seen[1]['projector.weight'])
    for name, weight in seen[1].items():
        assert torch.equal(weight, seen[2][name])
        assert weight.isfinite().all()


def test_bad_steps_in_a_row_end_a_run_with_its_last_good_state(tmp_path):
    model = Faulty(range(6, 100), 'nan')
    runner = build(tmp_path, model=model, wrapper=dict(max_bad_steps=3))
    good = []
    runner.losses.actions = {5: lambda: good.append(parameters(runner))}
    with pytest.raises(NotFiniteError, match='3 steps in a row, up to step 9'):
        runner.train()
    found, _ = newest_whole(tmp_path)
    assert found.iteration == 9
    for name, weight in found.tensors('trained').items():
        assert torch.equal(weight, good[0][name])
    # And it can go on.
    assert len(train(tmp_path, resume=True)) == 11


def test_bad_steps_apart_do_not_end_a_run(tmp_path):
    runner = build(
        tmp_path, model=Faulty([1, 2, 4, 5], 'inf'),
        wrapper=dict(max_bad_steps=3))
    runner.train()
    assert runner.optim_wrapper.bad_steps == 4


def test_one_bad_batch_spoils_its_accumulated_step_alone(tmp_path):
    runner = build(
        tmp_path, model=Faulty([4], 'nan'), steps=9,
        wrapper=dict(accumulative_counts=3))
    runner.train()
    assert runner.optim_wrapper.bad_steps == 1
    assert all(p.isfinite().all() for p in runner.model.parameters())


def test_accumulation_equals_a_larger_batch(tmp_path):
    options = dict(
        steps=1, dataset=Numbers(noise=False), param_scheduler=None)
    grads = []
    for counts, size, steps in ((1, 8, 1), (2, 4, 2)):
        runner = build(
            tmp_path / str(counts), model=TinyModel(dropout=0.),
            loader=dict(batch_size=size),
            wrapper=dict(accumulative_counts=counts,
                         optimizer=dict(type='SGD', lr=1., weight_decay=0.)),
            **dict(options, steps=steps))
        runner.train()
        grads.append(runner.model.projector.weight.detach())
    torch.testing.assert_close(*grads)


def test_bfloat16_trains_on_a_cpu(tmp_path):
    model = TinyModel()
    seen = []
    model.projector.register_forward_hook(
        lambda module, args, out: seen.append(out.dtype))
    losses = train(tmp_path, model=model, wrapper=dict(dtype='bfloat16'))
    assert set(seen) == {torch.bfloat16}
    assert all(math.isfinite(x) for x in losses)
    assert model.projector.weight.dtype == torch.float32


def test_the_toolbox_amp_option_works_on_a_cpu(tmp_path):
    runner = build(
        tmp_path, steps=2,
        wrapper=dict(type='AmpOptimWrapper', loss_scale='dynamic'))
    runner.train()
    if not torch.cuda.is_available():
        assert runner.optim_wrapper.dtype == torch.bfloat16


@pytest.mark.skipif(torch.cuda.is_available(), reason='is about CPUs')
def test_float16_on_a_cpu_is_refused(tmp_path):
    with pytest.raises(ConfigError, match='needs a GPU'):
        train(tmp_path, wrapper=dict(dtype='float16'))


@pytest.mark.parametrize('wrapper', [
    dict(dtype='int8'), dict(max_bad_steps=-1)])
def test_settings_without_meaning_are_refused(tmp_path, wrapper):
    with pytest.raises(ConfigError):
        train(tmp_path, wrapper=wrapper)


def test_a_model_with_nothing_to_train_is_refused(tmp_path):
    model = TinyModel().requires_grad_(False)
    with pytest.raises((ConfigError, ValueError)):
        train(tmp_path, model=model)


def test_the_optimizer_holds_what_is_trained(tmp_path):
    runner = build(tmp_path, steps=1)
    runner.train()
    groups = runner.optim_wrapper.optimizer.param_groups
    decays = {len(p.shape): g['weight_decay']
              for g in groups for p in g['params']}
    assert decays == {2: 0.05, 1: 0.}


def test_the_log_has_the_numbers_of_a_run(tmp_path):
    runner = build(tmp_path, steps=5)
    runner.train()
    scalars = runner.message_hub.log_scalars
    for name in ('lr', 'loss', 'grad_norm', 'bad_steps', 'pairs_per_second',
                 'memory_mb', 'hours_left'):
        assert math.isfinite(scalars[f'train/{name}'].current()), name
    assert scalars['train/pairs_per_second'].current() > 1


def test_tensorboard_is_added_once():
    local = dict(type='LocalVisBackend')
    config = dict(type='Visualizer', vis_backends=[local])
    both = with_tensorboard(config)
    assert both['vis_backends'] == [
        local, dict(type='TensorboardVisBackend')
    ]
    assert config['vis_backends'] == [local]
    assert with_tensorboard(both) == both
    assert with_tensorboard(None) is None


VALIDATION = dict(
    val_dataloader=dict(
        batch_size=3,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=True),
        collate_fn=dict(type='default_collate'),
        dataset=Numbers(10)),
    val_cfg=dict(type='mmpretrain_minigpt4.LossValLoop'),
    val_evaluator=[],
    train_cfg=dict(
        type='mmpretrain_minigpt4.TrainLoop', max_iters=20, val_interval=4))


def test_validation_reports_the_mean_loss_of_samples(tmp_path):
    runner = build(tmp_path, **dict(
        VALIDATION,
        val_dataloader=dict(
            VALIDATION['val_dataloader'], dataset=Numbers(10, noise=False))))
    runner.train()
    data = Numbers(10, noise=False)
    items = [data[i] for i in range(10)]
    runner.model.eval()
    with torch.no_grad():
        losses = [
            runner.model(x['inputs'][None], x['data_samples'][None])['loss']
            for x in items
        ]
    reported = runner.message_hub.log_scalars['val/loss'].current()
    assert reported == pytest.approx(float(sum(losses)) / 10, rel=1e-5)


def test_validation_changes_nothing_in_the_training(tmp_path):
    assert train(tmp_path / 'with', **VALIDATION) == train(
        tmp_path / 'without')


def test_a_signal_in_validation_keeps_the_step_before(tmp_path):
    whole = train(tmp_path / 'whole', **VALIDATION)

    class Terminated(TinyModel):

        def forward(self, *args, **kwargs):
            if not self.training:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().forward(*args, **kwargs)

    runner = build(tmp_path / 'cut', model=Terminated(), **VALIDATION)
    with pytest.raises(SystemExit):
        runner.train()
    assert runner.losses.values == whole[:4]
    resumed = build(tmp_path / 'cut', resume=True, **VALIDATION)
    resumed.train()
    assert resumed.losses.values == whole[4:]
    # The validation of step 4 was done again.
    assert len(resumed.message_hub.log_scalars['val/loss'].data[0]) == 5


def test_early_stopping_remembers_over_a_resume(tmp_path):
    hook = dict(
        type='mmpretrain_minigpt4.EarlyStoppingHook', monitor='loss',
        rule='less', patience=3, min_delta=1e9)
    options = dict(VALIDATION, custom_hooks=[hook])
    runner = build(tmp_path / 'whole', **options)
    runner.train()
    # The first validation sets the mark, the next three do not pass it.
    assert runner.iter == 16
    cut = build(tmp_path / 'cut', **options)
    cut.register_hook(cut.losses)
    cut.losses.actions = {9: lambda: os.kill(os.getpid(), signal.SIGTERM)}
    with pytest.raises(SystemExit):
        cut.train()
    resumed = build(tmp_path / 'cut', resume=True, **options)
    resumed.train()
    assert resumed.iter == 16
    assert list_snapshots(tmp_path / 'cut')[0].name == 'iter_000016'


def test_recomputed_activations_give_the_same_gradient():
    torch.manual_seed(0)
    model = torch.nn.Module()
    model.layers = torch.nn.ModuleList(
        torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Tanh())
        for _ in range(3))
    x = torch.randn(2, 4)

    def gradient():
        calls = []
        handle = model.layers[0][0].register_forward_hook(
            lambda *args: calls.append(1))
        y = x.clone().requires_grad_()
        out = y
        for layer in model.layers:
            out = layer(out)
        out.sum().backward()
        handle.remove()
        return y.grad, len(calls)

    plain, once = gradient()
    recompute(model, ['layers'])
    again, twice = gradient()
    assert torch.equal(plain, again)
    assert (once, twice) == (1, 2)
    with pytest.raises(ConfigError, match="no 'head.llm'"):
        recompute(model, 'head.llm')


def test_sample_answers_are_written_as_text_and_picture(tmp_path):

    class Pictures(torch.utils.data.Dataset):

        def __len__(self):
            return 10

        def __getitem__(self, index):
            inputs = torch.full((3, 12, 16), index * 20, dtype=torch.uint8)
            return dict(inputs=inputs, data_samples=index)

    class Answering(TinyModel):

        def forward(self, inputs, data_samples=None, mode='loss', **options):
            if mode == 'predict':
                assert options == dict(do_sample=False)
                return [
                    BaseDataElement(pred_caption=f'grey of {x.max():.0f}',
                                    gt_caption=f'picture {i}')
                    for i, x in zip(data_samples, inputs, strict=True)
                ]
            return super().forward(
                inputs.float().flatten(1)[:, :4] / 255, data_samples.float())

    loader = dict(VALIDATION['val_dataloader'], dataset=Pictures())
    runner = build(
        tmp_path, model=Answering(), steps=4, dataset=Pictures(),
        **dict(
            VALIDATION, val_dataloader=loader,
            train_cfg=dict(VALIDATION['train_cfg'], max_iters=4)),
        custom_hooks=[
            dict(type='mmpretrain_minigpt4.SampleAnswersHook', num_images=5,
                 width=64, columns=3)
        ])
    runner.train()
    text = (tmp_path / 'samples' / 'iter_000004.txt').read_text()
    assert 'answer: grey of 80\ntarget: picture 4' in text
    with Image.open(tmp_path / 'samples' / 'iter_000004.png') as grid:
        assert grid.width == 3 * 64
        assert grid.getpixel((64 + 20, 10)) == (40, 40, 40)


def test_a_long_answer_stays_in_its_column():
    images = [Image.new('RGB', (80, 20), 'white') for _ in range(2)]
    grid = draw_grid(images, ['word ' * 40, ''], 2)
    right = grid.crop((80, 0, 160, grid.height))
    assert right.getcolors() == [(80 * grid.height, (255, 255, 255))]
