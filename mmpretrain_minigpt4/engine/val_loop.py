# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Validation by the loss, and by metrics where there are some."""

from collections.abc import Mapping, Sequence

import torch
from mmengine.dist import all_reduce, get_comm_device
from mmengine.evaluator import Evaluator
from mmengine.runner import Runner, ValLoop
from torch.utils.data import DataLoader

from ..errors import ConfigError
from ..registry import LOOPS
from .state import unwrapped


@LOOPS.register_module()
class LossValLoop(ValLoop):
    """Reports ``loss``, the mean over samples, on data not trained on.

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
        for index, batch in enumerate(self.dataloader):
            self.run_iter(index, batch)
        metrics = {}
        if self.evaluator.metrics:
            metrics = self.evaluator.evaluate(len(self.dataloader.dataset))
        total = self._total.to(get_comm_device())
        all_reduce(total)
        loss, samples = total.tolist()
        if not samples:
            raise ConfigError('The validation data is empty: give '
                              'val_dataloader some, or train without it by '
                              '--no-validate.')
        metrics['loss'] = loss / samples
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
        data = model.data_preprocessor(data_batch, False)
        loss, _ = model.parse_losses(model(**data, mode='loss'))
        samples = count_samples(data_batch)
        self._total += torch.tensor([float(loss) * samples, samples],
                                    dtype=torch.float64)
        outputs = None
        if self.evaluator.metrics:
            with torch.autocast(loss.device.type, enabled=self.fp16):
                outputs = model.val_step(data_batch)
            self.evaluator.process(
                data_samples=outputs, data_batch=data_batch)
        runner.call_hook(
            'after_val_iter',
            batch_idx=idx,
            data_batch=data_batch,
            outputs=outputs)


def count_samples(data_batch: dict | Sequence) -> int:
    """How many samples a collated batch holds."""
    if not isinstance(data_batch, Mapping):
        return len(data_batch[0])
    samples = data_batch.get('data_samples')
    return len(data_batch['inputs'] if samples is None else samples)
