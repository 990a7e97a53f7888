# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Two processes that train from one feature cache, and one that does."""


import pytest
import torch
from helpers.feature_run import Run
from helpers.processes import needs_forks, results, together

from mmpretrain_minigpt4.apis.cache_features import cache_features


@needs_forks
def test_two_processes_share_out_what_one_reads_from_a_cache(small,
                                                             tmp_path):
    options = {
        'train_dataloader.batch_size': 1,
        'train_dataloader.dataset.num_scenes': 4,
        'optim_wrapper.optimizer': dict(
            _delete_=True, type='SGD', lr=0., weight_decay=0.),
        'param_scheduler': None,
    }
    cfg = small(**options)
    cache_features(cfg, tmp_path / 'cache')
    cfg.model.features = str(tmp_path / 'cache')
    cfg.train_cfg.max_iters = 4
    one = Run(cfg, tmp_path / 'one')

    def work(rank):
        cfg.launcher = 'pytorch'
        cfg.train_cfg.max_iters = 2
        run = Run(cfg, tmp_path / 'two')
        return run.losses, run.gradients, run.norm

    first, second = results(together(work, tmp_path))
    # Samples in turn: all of one pass, none twice, to the last bit.
    assert len(set(one.losses)) == 4
    assert [*zip(first[0], second[0], strict=True)] == [
        *zip(one.losses[::2], one.losses[1::2], strict=True)]
    # Gradients of weight and bias, of each step's two samples.
    for step in range(2):
        own = one.gradients[4 * step:4 * step + 4]
        mine, others = (x[1][2 * step:2 * step + 2] for x in (first, second))
        assert all(map(torch.equal, own, mine + others))
    shared = [(a + b) / 2 for a, b in zip(own[:2], own[2:], strict=True)]
    assert first[2] == second[2] == pytest.approx(float(
        torch.nn.utils.get_total_norm(shared)), rel=1e-5)
