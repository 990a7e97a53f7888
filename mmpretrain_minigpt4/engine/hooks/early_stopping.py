# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Early stopping that remembers over a resume."""

from collections.abc import Mapping

from mmengine.hooks import EarlyStoppingHook as BaseEarlyStoppingHook

from ...registry import HOOKS


@HOOKS.register_module()
class EarlyStoppingHook(BaseEarlyStoppingHook):
    """mmengine's, whose count and best value are kept in checkpoints.

    Takes its arguments, for instance ``monitor='loss', rule='less',
    patience=5``.
    """

    def state_dict(self) -> dict[str, float]:
        """The best value so far, and how long ago it was."""
        return dict(
            best_score=float(self.best_score), wait_count=self.wait_count)

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """The reverse of :meth:`state_dict`."""
        self.best_score = float(state['best_score'])
        self.wait_count = int(state['wait_count'])
