# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS

from mmpretrain_minigpt4.engine.optimizers.schedule import warmup_cosine
from mmpretrain_minigpt4.errors import ConfigError

STAGE1 = dict(warmup_steps=5000, total_steps=20_000, start=1e-6, final=8e-5)
STAGE2 = dict(warmup_steps=200, total_steps=1000, start=1e-6, final=1e-5)
# Worked out by hand from the original's two formulas: the line
# start + (peak - start) * step / warmup, and from its end on the cosine
# (peak - final) / 2 * (1 + cos(pi * step / total)) + final.
GOLDEN1 = {
    0: 1e-6,
    1: 1.0198e-6,
    2500: 5.05e-5,
    4999: 9.99802e-5,
    5000: 9.70710678118655e-5,
    10_000: 9e-5,
    15_000: 8.29289321881345e-5,
    19_999: 8.00000001233701e-5,
    20_000: 8e-5,
}
GOLDEN2 = {
    0: 1e-6,
    100: 1.55e-5,
    199: 2.9855e-5,
    200: 2.80901699437495e-5,
    500: 2e-5,
    800: 1.19098300562505e-5,
    999: 1.00000493479400e-5,
}


def rates(peak, settings, steps, groups=None):
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD(groups or [parameter], lr=peak)
    schedule = PARAM_SCHEDULERS.build(
        dict(type='mmpretrain_minigpt4.WarmupCosineLR', **settings),
        default_args=dict(
            optimizer=OptimWrapper(optimizer), epoch_length=7, end=1))
    seen = []
    for _ in range(steps):
        seen.append([group['lr'] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    return seen


@pytest.mark.parametrize('peak, settings, golden', [
    (1e-4, STAGE1, GOLDEN1), (3e-5, STAGE2, GOLDEN2)])
def test_the_curve_is_the_official_one(peak, settings, golden):
    for step, rate in golden.items():
        assert warmup_cosine(step, peak=peak, **settings) == pytest.approx(
            rate, rel=1e-12)


def test_the_optimizer_steps_with_the_curve():
    seen = rates(3e-5, STAGE2, 1000)
    for step, rate in GOLDEN2.items():
        assert seen[step] == [pytest.approx(rate, rel=1e-12)]


def test_the_rate_stays_after_the_last_step():
    assert rates(3e-5, STAGE2, 1200)[1100:] == [[1e-5]] * 100


def test_a_resumed_schedule_goes_on_where_it_was():
    parameter = torch.nn.Parameter(torch.zeros(1))

    def build():
        optimizer = torch.optim.AdamW([parameter], lr=3e-5)
        return optimizer, PARAM_SCHEDULERS.build(
            dict(type='mmpretrain_minigpt4.WarmupCosineLR', **STAGE2),
            default_args=dict(optimizer=optimizer))

    first, schedule = build()
    for _ in range(300):
        first.step()
        schedule.step()
    second, again = build()
    second.load_state_dict(first.state_dict())
    again.load_state_dict(schedule.state_dict())
    for _ in range(5):
        assert second.param_groups[0]['lr'] == first.param_groups[0]['lr']
        for optimizer, each in ((first, schedule), (second, again)):
            optimizer.step()
            each.step()


def test_a_group_with_its_own_rate_has_the_whole_curve_scaled():
    weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    seen = rates(3e-5, STAGE2, 300, groups=[
        dict(params=weights[:1]), dict(params=weights[1:], lr=3e-6)])
    for high, low in seen:
        assert low == pytest.approx(high / 10, rel=1e-12)


def test_weights_decay_and_biases_do_not():
    model = torch.nn.Module()
    model.layers = torch.nn.ModuleList([torch.nn.Linear(3, 4)])
    wrapper = build_optim_wrapper(
        model,
        dict(
            type='OptimWrapper',
            optimizer=dict(type='AdamW', lr=1e-4, weight_decay=0.05),
            paramwise_cfg=dict(bias_decay_mult=0.)))
    decay = {
        tuple(group['params'][0].shape): group['weight_decay']
        for group in wrapper.optimizer.param_groups
    }
    assert decay == {(4, 3): 0.05, (4, ): 0.0}


@pytest.mark.parametrize('change, word', [
    (dict(by_epoch=True), 'by_epoch=False'),
    (dict(warmup_steps=2000), 'warmup_steps <= total_steps'),
    (dict(start=1.), 'start and final'),
])
def test_a_curve_that_cannot_be_is_refused(change, word):
    with pytest.raises(ConfigError, match=word):
        rates(3e-5, {**STAGE2, **change}, 1)
