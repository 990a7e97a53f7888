# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Ending a run between two steps when someone asks for it."""

import os
import signal
import threading
from types import FrameType

import torch
from mmengine.dist import all_reduce, get_comm_device, get_world_size

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """Keeps the first SIGTERM or SIGINT for the end of the step.

    A second SIGINT ends the run at once, as Ctrl-C usually does. Use as a
    context; outside of a main thread, where signals cannot be handled, it
    does nothing.

    Attributes:
        number: The signal that came, 0 if none did.
    """

    def __init__(self) -> None:
        self.number = 0
        self._before: dict[int, object] = {}
        self._process = os.getpid()

    def __enter__(self) -> 'StopSignals':
        self._process = os.getpid()
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def agreed(self) -> int:
        """The signal that any process of the run got, 0 if none did.

        All processes must ask after the same step.
        """
        if get_world_size() == 1:
            return self.number
        number = torch.tensor(self.number, device=get_comm_device())
        all_reduce(number, 'max')
        return int(number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            return  # a data worker that has not set its own handlers yet
        if self.number and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = number
        # Nothing that takes a lock: the logger may be in mid-line.
        text = (f'\n{signal.Signals(number).name}: the run ends after this '
                'step, with a checkpoint.\n')
        os.write(2, text.encode())


def exit_code(number: int) -> int:
    """The exit code of a run that a signal ended: 143, 130."""
    return 128 + number
