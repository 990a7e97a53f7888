# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The training loop: steps, and between them the places to stop and go on.

Between two steps it calls one hook point more than mmengine's loops do,
``at_step_boundary(runner)``: there, and only there, a run may be saved. A
hook that has ``before_stop(runner)`` is told that the run is about to end
early.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from mmengine.dist import get_rank, get_world_size
from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop, Runner
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ...errors import ConfigError, NotFiniteError, TrainingError
from ...registry import LOOPS
from ..checkpointing.dataloader_state import ResumableBatches
from ..checkpointing.run_state import (
    random_state,
    same_random_state_after,
    set_random_state,
)
from .stop_signals import StopSignals, exit_code

LOST_PEER = ('Connection closed by peer', 'Connection reset by peer',
             'Broken pipe', 'NCCL communicator was aborted',
             'remote process exited')
WAITED = ('Timed out waiting', 'collective operation timeout',
          'Timeout at NCCL')


@LOOPS.register_module()
class TrainLoop(BaseLoop):
    """Trains for a number of steps, and can go on from any of them.

    SIGTERM and SIGINT are heeded at the end of the step: the hooks'
    ``before_stop`` is called and the process exits with 143 or 130.
    Validation draws random numbers of its own, so it changes nothing in the
    training.

    Args:
        runner: The runner.
        dataloader: The training data.
        max_iters: Steps to train, a batch each.
        val_begin: The first step after which to validate.
        val_interval: Steps between two validations; the last one always
            validates.

    Raises:
        ConfigError: If a number is below 1, or, when it runs, if the model
            is not wrapped although there are several processes.
    """

    def __init__(self,
                 runner: Runner,
                 dataloader: DataLoader | dict,
                 max_iters: int,
                 val_begin: int = 1,
                 val_interval: int = 1000) -> None:
        for name, value in dict(
                max_iters=max_iters, val_interval=val_interval).items():
            if (not isinstance(value, (int, float)) or value < 1
                    or int(value) != value):
                raise ConfigError(
                    f'train_cfg.{name} must be a whole number from 1 on, '
                    f'got {value}.')
        super().__init__(runner, dataloader)
        self._max_iters = int(max_iters)
        self.val_begin = val_begin
        self.val_interval = int(val_interval)
        self.stop_training = False  # set by EarlyStoppingHook
        self.signals = StopSignals()
        self.batches = ResumableBatches(self.dataloader)
        self.step_began = 0.
        self._iter = 0
        self._validated = 0
        self._random: Mapping[str, Tensor] | None = None
        metainfo = getattr(self.dataloader.dataset, 'metainfo', None)
        if metainfo is not None:
            runner.visualizer.dataset_meta = metainfo

    @property
    def max_epochs(self) -> int:
        """1, as in mmengine's loop over steps."""
        return 1

    @property
    def max_iters(self) -> int:
        """Steps to train."""
        return self._max_iters

    @property
    def epoch(self) -> int:
        """How often the data has been gone through."""
        return self.batches.epoch

    @property
    def iter(self) -> int:
        """Steps done."""
        return self._iter

    @property
    def between_updates(self) -> bool:
        """Whether no gradient is being accumulated."""
        return self.runner.optim_wrapper.should_update()

    def run(self) -> nn.Module:
        """Train until the last step, or until told to stop."""
        runner = self.runner
        refuse_unwrapped(runner.model)
        runner.call_hook('before_train')
        runner.call_hook('before_train_epoch')
        with self.signals, clear_errors(runner):
            try:
                self._train()
            finally:
                self.batches.close()
        runner.call_hook('after_train_epoch')
        runner.call_hook('after_train')
        return runner.model

    def _train(self) -> None:
        runner = self.runner
        self.batches.start()
        if self._random is not None:
            # Making the iterator drew a number.
            set_random_state(self._random)
            self._random = None
            self._validate_if_due()
        while self._iter < self._max_iters and not self.stop_training:
            runner.model.train()
            self.step_began = time.perf_counter()
            self.run_iter(self._next_batch())
            runner.call_hook('at_step_boundary')
            self._stop_if_bad()
            self.stop_if_asked()
            self._validate_if_due()

    def run_iter(self, data_batch: Any) -> None:
        """Do one step."""
        runner = self.runner
        runner.call_hook(
            'before_train_iter', batch_idx=self._iter, data_batch=data_batch)
        outputs = runner.model.train_step(
            data_batch, optim_wrapper=runner.optim_wrapper)
        runner.call_hook(
            'after_train_iter',
            batch_idx=self._iter,
            data_batch=data_batch,
            outputs=outputs)
        self._iter += 1

    def stop_if_asked(self) -> None:
        """Save and exit if any process of the run got a signal.

        Raises:
            SystemExit: With 128 and the signal's number.
        """
        if not self.between_updates:
            return
        number = self.signals.agreed()
        if number:
            self.runner.call_hook('before_stop')
            raise SystemExit(exit_code(number))

    def state_dict(self) -> dict[str, Any]:
        """What to remember of this process, in plain types."""
        return dict(
            iteration=self._iter,
            validated=self._validated,
            data=self.batches.state_dict())

    def random_state(self) -> dict[str, Tensor]:
        """The state of the random generators between two steps."""
        return dict(random_state() if self._random is None else self._random)

    def load_state_dicts(self, states: Sequence[dict[str, Any]],
                         random: Mapping[str, Tensor]) -> None:
        """Go to a saved place; :meth:`run` goes on from there.

        Args:
            states: Of all processes of the earlier run.
            random: The random generators of this process.
        """
        self._iter = int(states[0]['iteration'])
        self._validated = int(states[0]['validated'])
        self._random = random
        self.batches.load_state_dicts([s['data'] for s in states], get_rank())

    def _next_batch(self) -> Any:
        try:
            return self.batches.next()
        except RuntimeError:
            # A signal to all processes of the job may have ended a worker.
            if self.signals.number and get_world_size() == 1:
                self.stop_if_asked()
            raise

    def _stop_if_bad(self) -> None:
        wrapper = self.runner.optim_wrapper
        most = getattr(wrapper, 'max_bad_steps', None)
        if not most or wrapper.bad_in_a_row < most:
            return
        self.runner.call_hook('before_stop')
        raise NotFiniteError(
            f'The loss or the gradient was NaN or infinite in {most} steps '
            f'in a row, up to step {self._iter}. None of them changed the '
            'weights, and the last good ones are in the newest checkpoint. '
            'Lower the learning rate, clip the gradient '
            '(optim_wrapper.clip_grad), or take dtype="bfloat16" in place '
            'of float16; then go on with --resume.')

    def _validate_if_due(self) -> None:
        runner, step = self.runner, self._iter
        last = step == self._max_iters
        if (runner.val_loop is None or step < self.val_begin
                or step == self._validated
                or not (last or step % self.val_interval == 0)):
            return
        with same_random_state_after():
            # What is saved in mid-validation belongs to the step before it.
            self._random = random_state()
            runner.val_loop.run()
            self._random = None
        self._validated = step


def refuse_unwrapped(model: nn.Module) -> None:
    """Refuse to train one model in each process.

    Raises:
        ConfigError: If there are several processes and the model does not
            share its gradients.
    """
    if get_world_size() > 1 and not is_model_wrapper(model):
        raise ConfigError(
            f'{get_world_size()} processes are running and the model is not '
            'wrapped: each would train a model of its own. Give '
            '--launcher pytorch, or wrap it in MMDistributedDataParallel.')


@contextmanager
def clear_errors(runner: Runner) -> Iterator[None]:
    """Say in one sentence what ended a step that others' deaths end."""
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        where = (f'after step {runner.iter}; go on from the last checkpoint '
                 'with --resume')
        if 'DataLoader worker' in text and (
                'killed' in text or 'exited' in text):
            raise TrainingError(
                f'A data worker died ({text.splitlines()[0]}), often because '
                'memory ran out: lower train_dataloader.num_workers. The '
                f'run ended {where}.') from error
        if get_world_size() > 1 and any(x in text for x in LOST_PEER):
            raise TrainingError(
                f'Process {get_rank()} lost another process of the run, '
                'whose own message is the first error in this log. The run '
                f'ended {where}.') from error
        if get_world_size() > 1 and any(x in text for x in WAITED):
            raise TrainingError(
                f'Process {get_rank()} waited for another process of the run '
                'until its time was up (env_cfg.dist_cfg.timeout, in '
                'seconds): one of them hangs, or the network is gone. The '
                f'run ended {where}.') from error
        raise
