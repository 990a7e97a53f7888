# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""A run through the real Runner, and all that it computed."""

import itertools

import torch

_number = itertools.count()


class Run:
    """What a run computed: losses, gradients and trained weights."""

    def __init__(self, cfg, folder):
        from mmengine.hooks import Hook
        from mmengine.registry import RUNNERS
        self.losses, self.gradients = [], []
        run = self

        class Watch(Hook):

            def before_train(self, runner):
                for parameter in runner.model.parameters():
                    if parameter.requires_grad:
                        parameter.register_hook(
                            lambda grad: run.gradients.append(grad.clone()))

            def after_train_iter(self, runner, batch_idx, data_batch=None,
                                 outputs=None):
                run.losses.append(outputs['loss'].item())

        cfg = cfg.copy()
        cfg.work_dir = str(folder)
        cfg.experiment_name = f'features-{next(_number)}'
        runner = RUNNERS.get(cfg.runner_type).from_cfg(cfg)
        runner.register_hook(Watch(), 'LOW')
        runner.train()
        self.model = runner.model
        self.norm = runner.message_hub.get_scalar('train/grad_norm').current()
        self.trained = {
            name: parameter.detach().clone()
            for name, parameter in runner.model.named_parameters()
            if parameter.requires_grad
        }

    def same(self, other):
        """Whether all is equal to the last bit."""
        return (self.losses == other.losses
                and _equal(self.gradients, other.gradients)
                and self.trained.keys() == other.trained.keys()
                and _equal(self.trained.values(), other.trained.values()))


def _equal(mine, others):
    mine, others = list(mine), list(others)
    return len(mine) == len(others) and all(map(torch.equal, mine, others))
