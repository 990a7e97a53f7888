# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The learning rate of the original recipe, at every step."""

import math

from mmengine.optim.scheduler.param_scheduler import _ParamScheduler

from ...errors import ConfigError
from ...registry import PARAM_SCHEDULERS


def warmup_cosine(step: int, *, warmup_steps: int, total_steps: int,
                  start: float, peak: float, final: float) -> float:
    """The learning rate of a step.

    It rises in a line from ``start`` towards ``peak``; from step
    ``warmup_steps`` on it follows the cosine from ``peak`` to ``final`` that
    began at step 0. So it drops a little where the line ends (in stage 1
    from 9.998e-5 to 9.707e-5).

    Args:
        step: From 0.
        warmup_steps: Steps of the line.
        total_steps: Where the cosine would reach ``final``.
        start: The rate of step 0.
        peak: The highest rate.
        final: The lowest rate of the cosine.

    Source: the linear-warm-up cosine schedule of the original training
    code, which counts all steps over all its epochs.
    """
    if step < warmup_steps:
        return min(peak, start + (peak - start) * step / warmup_steps)
    # Beyond the end it stays where it ended, rather than rise again.
    share = min(step / total_steps, 1.0)
    return final + (peak - final) * 0.5 * (1.0 + math.cos(math.pi * share))


@PARAM_SCHEDULERS.register_module()
class WarmupCosineLR(_ParamScheduler):
    """Sets the rate of :func:`warmup_cosine` before each step.

    The peak is the rate of the optimizer, so a parameter group with
    ``lr_mult`` has its whole curve multiplied.

    Args:
        optimizer: Or optimizer wrapper; the runner gives it.
        warmup_steps: As of :func:`warmup_cosine`.
        total_steps: As of :func:`warmup_cosine`.
        start: The rate of step 0, of a group without ``lr_mult``.
        final: The lowest rate, of a group without ``lr_mult``.
        peak: The rate that ``start`` and ``final`` are relative to; the
            optimizer's own by default.
        by_epoch: Must be False.
        end: Without effect; the runner always gives one, and of a schedule
            that does not say ``by_epoch`` it counts epochs.
        last_step: As of the toolbox's schedulers.
        verbose: Whether to print each rate.

    Raises:
        ConfigError: If the numbers make no such curve.
    """

    def __init__(self,
                 optimizer,
                 warmup_steps: int,
                 total_steps: int,
                 start: float,
                 final: float,
                 peak: float | None = None,
                 by_epoch: bool = False,
                 end: int | None = None,
                 last_step: int = -1,
                 verbose: bool = False) -> None:
        if by_epoch:
            raise ConfigError('WarmupCosineLR counts steps: set '
                              'by_epoch=False.')
        if not 0 <= warmup_steps <= total_steps or total_steps < 1:
            raise ConfigError(
                'WarmupCosineLR needs 0 <= warmup_steps <= total_steps, got '
                f'{warmup_steps} and {total_steps}.')
        if peak is None:
            peak = optimizer.param_groups[0].get(
                'initial_lr', optimizer.param_groups[0]['lr'])
        if min(start, final) < 0 or max(start, final) > peak or peak <= 0:
            raise ConfigError(
                'WarmupCosineLR needs start and final between 0 and the '
                f'optimizer\'s lr, {peak:g}; got {start:g} and {final:g}.')
        self.warmup_steps = warmup_steps
        self.total_steps = total_steps
        self.start = float(start)
        self.final = float(final)
        self.peak = float(peak)
        super().__init__(
            optimizer,
            'lr',
            last_step=last_step,
            by_epoch=False,
            verbose=verbose)

    def _get_value(self) -> list[float]:
        rate = warmup_cosine(
            self.last_step,
            warmup_steps=self.warmup_steps,
            total_steps=self.total_steps,
            start=self.start,
            peak=self.peak,
            final=self.final)
        # A group with the peak itself gets the very number, unrounded.
        return [
            rate if base == self.peak else rate * base / self.peak
            for base in self.base_values
        ]
