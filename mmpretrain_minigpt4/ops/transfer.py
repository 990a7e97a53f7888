# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Numbers to a device and back, without waiting for what runs there."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def to_device(values: Sequence, device: torch.device) -> torch.Tensor:
    """A small tensor of Python numbers.

    From pinned memory the copy takes its turn; from any other the host
    would wait until the device has done all that was asked of it before.
    """
    return tensor_to_device(torch.tensor(values), device)


def tensor_to_device(x: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor of the host on a device, as of :func:`to_device`."""
    if device.type != 'cuda' or x.is_cuda:
        return x.to(device)
    return x.pin_memory().to(device, non_blocking=True)


class AsyncHostCopy:
    """Tensors on their way from a device to the host.

    Args:
        tensors: Copied as they are at this point of the stream; None stays
            None.
    """

    def __init__(self, *tensors: torch.Tensor | None) -> None:
        self._event = None
        self._found = tensors
        there = next((x for x in tensors if x is not None and x.is_cuda), None)
        if there is not None:
            self._found = tuple(
                None if x is None else torch.empty_like(
                    x, device='cpu', pin_memory=True).copy_(
                        x, non_blocking=True) for x in tensors)
            self._event = torch.cuda.current_stream(
                there.device).record_event()

    def lists(self) -> list[list | None]:
        """The numbers, once they are there."""
        if self._event is not None:
            self._event.synchronize()
        return [None if x is None else x.tolist() for x in self._found]
