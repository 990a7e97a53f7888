# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""What each process of test_distributed.py does."""

import json
import os

from helpers.eval_run import test_together
from helpers.tiny_run import Numbers, TinyModel, build


def work(folder, rank):
    """One after another, as connecting takes its time."""
    report = dict(rank=rank)

    # One step of plain gradient descent shows the gradient.
    model = TinyModel(dropout=0.)
    runner = build(
        folder / 'step', steps=1, model=model, launcher='pytorch',
        dataset=Numbers(noise=False), param_scheduler=None,
        wrapper=dict(optimizer=dict(type='SGD', lr=1., weight_decay=0.)))
    runner.train()
    report['weight'] = model.projector.weight.tolist()

    # A run of both, stopped by a signal that one process gets, and resumed.
    def stop():
        if rank == 1:
            os.kill(os.getpid(), 15)

    options = dict(launcher='pytorch', steps=12)
    whole = build(folder / 'whole', **options)
    whole.train()
    cut = build(folder / 'cut', actions={6: stop}, **options)
    try:
        cut.train()
    except SystemExit as end:
        report['code'] = end.code
    resumed = build(folder / 'cut', resume=True, **options)
    resumed.train()
    report['whole'] = whole.losses.values
    report['cut'] = cut.losses.values + resumed.losses.values
    report['test'] = test_together(folder, rank)
    (folder / f'rank{rank}.json').write_text(json.dumps(report))

    # And a process that dies.
    def die():
        if rank == 1:
            os._exit(7)

    build(folder / 'dead', actions={3: die}, **options).train()
