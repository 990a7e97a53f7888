# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Saving a run between two steps, and going on from there."""

import os
from pathlib import Path
from typing import Any

from mmengine.dist import (
    all_gather_object,
    barrier,
    broadcast_object_list,
    get_rank,
    is_main_process,
)
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor

from ...errors import CheckpointError, ConfigError
from ...registry import HOOKS
from ..checkpointing import run_state as run_state
from ..checkpointing.snapshot import (
    Snapshot,
    iteration_of,
    list_snapshots,
    newest_whole,
    prune,
    read_snapshot,
    remove_leftovers,
    set_aside,
    write_snapshot,
)
from ..optimizers.optim_wrapper import OptimWrapper
from ..runners.train_loop import TrainLoop


@HOOKS.register_module()
class TrainingCheckpointHook(Hook):
    """Keeps checkpoints ``iter_000500/`` from which a run goes on exactly.

    Each holds what is trained and its optimizer (38 MB for the 7B
    projection with AdamW), the schedules, the random generators and the
    position in the data of every process, and no code. It is whole or
    absent, see ``engine/checkpointing/snapshot.py``; older ones go once it
    is there.

    Besides every ``interval`` steps, a run is saved at its last step, when a
    signal ends it, and when it stops for NaNs.

    Args:
        interval: Steps between two checkpoints.
        max_keep: How many are kept; 0 keeps all.

    Raises:
        ConfigError: If a number is out of range, or, when training starts,
            if the loop or the optimizer wrapper is not this package's.
    """

    priority = 'VERY_LOW'

    def __init__(self, interval: int = 500, max_keep: int = 3) -> None:
        if interval < 1 or max_keep < 0:
            raise ConfigError(
                'TrainingCheckpointHook needs interval >= 1 and max_keep >= '
                f'0, got {interval} and {max_keep}.')
        self.interval = interval
        self.max_keep = max_keep
        self._saved = -1
        self._due = False
        self._resumed = False

    def before_train(self, runner: Runner) -> None:
        """Check the parts, and clear the folder for this run."""
        _check(runner)
        if not is_main_process():
            return
        try:
            remove_leftovers(runner.work_dir)
            if not self._resumed:
                self._set_aside(runner, list_snapshots(runner.work_dir),
                                'an earlier run, which this one does not '
                                'resume')
        except OSError as error:
            raise CheckpointError(
                f'{runner.work_dir!r} cannot be written to: {error}. Choose '
                'another --work-dir.') from error

    def at_step_boundary(self, runner: Runner) -> None:
        """Save at every ``interval`` and at the end."""
        if (runner.iter % self.interval == 0
                or runner.iter == runner.max_iters):
            self._due = True
        # Never in the middle of an accumulated gradient.
        if self._due and runner.train_loop.between_updates:
            self.save(runner)

    def before_stop(self, runner: Runner) -> None:
        """Save a run that is about to end early, and delete nothing."""
        self.save(runner, delete_old=False)

    def after_train(self, runner: Runner) -> None:
        """Save a run that stopped early."""
        if runner.train_loop.between_updates:
            self.save(runner)

    def after_val_iter(self,
                       runner: Runner,
                       batch_idx: int,
                       data_batch: Any = None,
                       outputs: Any = None) -> None:
        """Let a signal end a run in the middle of validation."""
        if isinstance(runner._train_loop, TrainLoop):
            runner._train_loop.stop_if_asked()

    def save(self, runner: Runner, delete_old: bool = True) -> None:
        """Save the run as it is now, unless that has been done.

        Args:
            runner: The runner, between two steps.
            delete_old: Whether only ``max_keep`` checkpoints shall stay.

        Raises:
            CheckpointError: In every process, if it cannot be written.
        """
        self._due = False
        if self._saved == runner.iter:
            return
        state, tensors = self._collect(runner)
        problem = [None]
        if is_main_process():
            try:
                path = write_snapshot(runner.work_dir, runner.iter, tensors,
                                      state)
                runner.logger.info(f'Saved {path}.')
                if delete_old and self.max_keep:
                    prune(runner.work_dir, self.max_keep)
            except (CheckpointError, OSError) as error:
                problem = [str(error)]
        broadcast_object_list(problem)
        if problem[0] is not None:
            raise CheckpointError(problem[0])
        self._saved = runner.iter

    def resume(self, runner: Runner, source: Path | None) -> None:
        """Put a run where a checkpoint ends.

        Args:
            runner: The runner, with everything built.
            source: The folder of a checkpoint or of a run; None for the
                run's own, which may be empty yet.

        Raises:
            CheckpointError: If there is no whole checkpoint at ``source``,
                or it does not fit the config.
        """
        _check(runner)
        snapshot = self._find(runner, source)
        if snapshot is None:
            runner.logger.info(
                f'{runner.work_dir} has no checkpoint yet: the training '
                'starts from its beginning.')
            return
        try:
            self._restore(runner, snapshot)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError,
                RuntimeError) as error:
            if isinstance(error, CheckpointError):
                raise
            raise CheckpointError(
                f'{str(snapshot.path)!r} does not fit this run: '
                f'{type(error).__name__}: {error}.') from error
        self._resumed = True
        own = snapshot.path.parent.resolve() == Path(
            runner.work_dir).resolve()
        self._saved = snapshot.iteration if own else -1
        # Others may still be reading what the first process is to move.
        barrier()
        if is_main_process():
            later = [
                path for path in list_snapshots(runner.work_dir)
                if not own or iteration_of(path) > snapshot.iteration
            ]
            self._set_aside(runner, later, 'broken, or of steps that this '
                            'run does anew')
        runner.logger.info(f'Resumed from {snapshot.path} after '
                           f'{snapshot.iteration} steps.')

    def _find(self, runner: Runner, source: Path | None) -> Snapshot | None:
        folder = Path(runner.work_dir) if source is None else source
        if source is not None and (
                source.is_file() or (source / 'state.json').exists()
                or source.name.startswith('iter_')):
            return read_snapshot(source)
        snapshot, problems = newest_whole(folder)
        for problem in problems:
            runner.logger.warning(f'Not resumed from: {problem}')
        if snapshot is None and (source is not None or problems):
            raise CheckpointError(
                f'{os.fspath(folder)!r} has no whole checkpoint to resume '
                'from. To start anew, leave --resume out.')
        return snapshot

    def _collect(self, runner: Runner
                 ) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]]:
        loop = runner.train_loop
        wrapper = runner.optim_wrapper
        ranks = all_gather_object((loop.state_dict(), loop.random_state()))
        tensors, optimizer = run_state.optimizer_state(
            runner.model, wrapper.optimizer)
        state = dict(
            ranks=[place for place, _ in ranks],
            optimizer=optimizer,
            wrapper=wrapper.plain_state(),
            schedules=[x.state_dict() for x in _schedules(runner)],
            hooks={
                type(hook).__name__: hook.state_dict()
                for hook in runner.hooks if hasattr(hook, 'state_dict')
            },
            seed=runner.seed,
            config=run_state.config_hash(runner.cfg),
            versions=run_state.versions())
        random = {
            f'{rank}.{name}': tensor
            for rank, (_, numbers) in enumerate(ranks)
            for name, tensor in numbers.items()
        }
        return state, dict(
            trained=run_state.trained_parameters(runner.model),
            optimizer=tensors,
            random=random)

    def _restore(self, runner: Runner, snapshot: Snapshot) -> None:
        state = snapshot.state
        if state['config'] != run_state.config_hash(runner.cfg):
            runner.logger.warning(
                f'{snapshot.path} was made with another config. The weights, '
                'the optimizer and the schedules go on as they were saved; '
                'the rest is as the config says now.')
        wrapper, schedules = runner.optim_wrapper, _schedules(runner)
        run_state.load_trained(runner.model, snapshot.tensors('trained'))
        run_state.load_optimizer_state(
            runner.model, wrapper.optimizer, snapshot.tensors('optimizer'),
            state['optimizer'])
        wrapper.load_plain_state(state['wrapper'])
        if len(schedules) != len(state['schedules']):
            raise CheckpointError(
                f'{str(snapshot.path)!r} has {len(state["schedules"])} '
                f'learning-rate schedules, the config {len(schedules)}: '
                'resume with the param_scheduler of the first run.')
        for schedule, saved in zip(schedules, state['schedules'],
                                   strict=True):
            schedule.load_state_dict(saved)
        for hook in runner.hooks:
            saved = state['hooks'].get(type(hook).__name__)
            if saved is not None and hasattr(hook, 'load_state_dict'):
                hook.load_state_dict(saved)
        random = snapshot.tensors('random')
        rank = get_rank() if get_rank() < len(state['ranks']) else 0
        runner.train_loop.load_state_dicts(state['ranks'], {
            name.split('.', 1)[1]: tensor
            for name, tensor in random.items()
            if name.startswith(f'{rank}.')
        })

    def _set_aside(self, runner: Runner, paths: list[Path],
                   why: str) -> None:
        home = set_aside(paths)
        if home is not None:
            names = ', '.join(path.name for path in paths)
            runner.logger.warning(f'Moved {names} ({why}) to {home}.')


def _schedules(runner: Runner) -> list:
    schedules = runner.param_schedulers or []
    if isinstance(schedules, dict):
        return [x for name in sorted(schedules) for x in schedules[name]]
    return list(schedules)


def _check(runner: Runner) -> None:
    if not isinstance(runner.train_loop, TrainLoop):
        raise ConfigError(
            'TrainingCheckpointHook saves between the steps of this '
            "package's loop: set train_cfg.type='mmpretrain_minigpt4."
            "TrainLoop' (and max_iters), and runner_type="
            "'mmpretrain_minigpt4.Runner'.")
    if not isinstance(runner.optim_wrapper, OptimWrapper):
        raise ConfigError(
            'TrainingCheckpointHook saves the state of this package\'s '
            'optimizer wrapper: set optim_wrapper.type='
            "'mmpretrain_minigpt4.OptimWrapper'.")
