# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Save what a run trained, and nothing of the frozen billions."""

import json
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from ... import __version__
from ...checkpoints.saving import save_trained
from ...errors import ConfigError
from ...registry import HOOKS


@HOOKS.register_module()
class SaveTrainedHook(Hook):
    """Write ``trained.safetensors`` to the run's folder.

    The file holds every parameter that needs a gradient, in the names that
    ``MiniGPT4(checkpoints=[...])`` reads: 12.6 MB for the 7B projection. It
    is written under a temporary name and put in place at once.

    Args:
        interval: Iterations between two writes; None for the end of the
            training alone, which always writes.
        filename: The file in the run's ``work_dir``.

    Raises:
        ConfigError: If ``interval`` is below 1 or ``filename`` is not a
            plain name that ends in ``.safetensors``.
    """

    priority = 'VERY_LOW'

    def __init__(self,
                 interval: int | None = None,
                 filename: str = 'trained.safetensors') -> None:
        if interval is not None and interval < 1:
            raise ConfigError(
                f'interval must be at least 1 iteration, got {interval}.')
        if Path(filename).name != filename or not filename.endswith(
                '.safetensors'):
            raise ConfigError(f'filename must be a plain name that ends in '
                              f'.safetensors, got {filename!r}.')
        self.interval = interval
        self.filename = filename

    def after_train_iter(self,
                         runner: Runner,
                         batch_idx: int,
                         data_batch=None,
                         outputs=None) -> None:
        """Write at every ``interval``, if there is one."""
        if self.interval is not None and self.every_n_train_iters(
                runner, self.interval):
            self._save(runner, runner.iter + 1)

    def after_train(self, runner: Runner) -> None:
        """Write the end of the run."""
        self._save(runner, runner.iter)

    def _save(self, runner: Runner, iteration: int) -> None:
        if not is_main_process():
            return
        model = runner.model
        if is_model_wrapper(model):
            model = model.module
        path = save_trained(
            model,
            Path(runner.work_dir) / self.filename,
            metadata=dict(
                iteration=str(iteration),
                version=__version__,
                experiment=json.dumps(runner.experiment_name)))
        runner.logger.info(f'Trained weights are in {path}.')
