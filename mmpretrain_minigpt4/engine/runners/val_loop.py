# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Validation by the loss, and by metrics where there are some."""

from collections.abc import Mapping, Sequence

import torch
from mmengine.dataset import DefaultSampler
from mmengine.dist import (
    all_reduce,
    get_comm_device,
    get_rank,
    get_world_size,
)
from mmengine.evaluator import Evaluator
from mmengine.runner import Runner, ValLoop
from torch import Tensor, nn
from torch.utils.data import DataLoader, DistributedSampler

from ...errors import ConfigError
from ...registry import LOOPS
from ..checkpointing.run_state import unwrapped
from ..distributed.lockstep import lockstep


@LOOPS.register_module()
class LossValLoop(ValLoop):
    """Reports ``loss``, the mean over all of the data, not trained on.

    It is the mean over all supervised tokens, or over samples where the
    model has no ``loss_terms``: the same number for any batch size and any
    number of processes.

    The validation data brings its targets, as training data does; the model
    sees them for the loss alone. With ``val_evaluator=[]`` there is nothing
    else; with metrics, the model also answers, and they are computed too.

    Args:
        runner: The runner.
        dataloader: The validation data.
        evaluator: The metrics; an empty list for none.
        fp16: Whether answers are computed under autocast.
    """

    def __init__(self,
                 runner: Runner,
                 dataloader: DataLoader | dict,
                 evaluator: Evaluator | dict | list,
                 fp16: bool = False) -> None:
        super().__init__(runner, dataloader, evaluator, fp16)
        self._total = torch.zeros(2, dtype=torch.float64)
        self._left: int | None = None

    def run(self) -> dict:
        """Go through the data and report.

        Raises:
            ConfigError: If the data is empty.
        """
        runner = self.runner
        runner.call_hook('before_val')
        runner.call_hook('before_val_epoch')
        runner.model.eval()
        self._total.zero_()
        self._left = count_own_samples(self.dataloader)
        for index, batch in enumerate(self.dataloader):
            self.run_iter(index, batch)
        metrics = {}
        if self.evaluator.metrics:
            metrics = self.evaluator.evaluate(len(self.dataloader.dataset))
        total = self._total.to(get_comm_device())
        all_reduce(total)
        loss, count = total.tolist()
        if not count:
            raise ConfigError('The validation data is empty: give '
                              'val_dataloader some, or train without it by '
                              '--no-validate.')
        metrics['loss'] = loss / count
        runner.call_hook('after_val_epoch', metrics=metrics)
        runner.call_hook('after_val')
        return metrics

    @torch.no_grad()
    def run_iter(self, idx: int, data_batch: dict) -> None:
        """Add a batch to the loss, and to the metrics."""
        runner = self.runner
        runner.call_hook(
            'before_val_iter', batch_idx=idx, data_batch=data_batch)
        model = unwrapped(runner.model)
        loss = self._add_loss(model, data_batch)
        outputs = None
        if self.evaluator.metrics:
            with torch.autocast(loss.device.type, enabled=self.fp16), \
                    lockstep(model):
                outputs = model.val_step(data_batch)
            self.evaluator.process(
                data_samples=outputs, data_batch=data_batch)
        runner.call_hook(
            'after_val_iter',
            batch_idx=idx,
            data_batch=data_batch,
            outputs=outputs)

    def _add_loss(self, model: nn.Module, data_batch: dict) -> Tensor:
        size, own = count_samples(data_batch), 1
        if self._left is not None:
            # All processes have as many batches, so what a sampler adds for
            # that may come in a batch of its own.
            own = min(size, self._left)
            self._left -= own
            if own < size:
                data_batch = take_samples(data_batch, max(own, 1))
        data = model.data_preprocessor(data_batch, False)
        if hasattr(model, 'loss_terms'):
            loss, count = model.loss_terms(**data)
        else:
            loss, _ = model.parse_losses(model(**data, mode='loss'))
            count = count_samples(data_batch)
            loss = loss * count
        if own:
            self._total += torch.tensor([float(loss), count],
                                        dtype=torch.float64)
        return loss


def count_own_samples(loader: DataLoader) -> int | None:
    """How many samples of a loader are this process's and no repetition.

    Samplers of several processes deal samples out in turn, and begin anew
    until all have as many. None if nothing is known of the sampler.
    """
    sampler = getattr(loader.batch_sampler, 'sampler', loader.sampler)
    if isinstance(sampler, DefaultSampler):
        dealt = len(loader.dataset)
    elif isinstance(sampler, DistributedSampler) and not sampler.drop_last:
        dealt = len(sampler.dataset)
    else:
        return None
    return len(range(get_rank(), dealt, get_world_size()))


def take_samples(data_batch: dict | Sequence, number: int
                 ) -> dict | Sequence:
    """The first samples of a collated batch."""
    if isinstance(data_batch, Mapping):
        return {key: value[:number] for key, value in data_batch.items()}
    return [value[:number] for value in data_batch]


def count_samples(data_batch: dict | Sequence) -> int:
    """How many samples a collated batch holds."""
    if not isinstance(data_batch, Mapping):
        return len(data_batch[0])
    samples = data_batch.get('data_samples')
    return len(data_batch['inputs'] if samples is None else samples)
