# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Memory: what is held now, and the most that a call held."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import threading
from collections.abc import Callable
from pathlib import Path

import torch

STATUS = Path('/proc/self/status')


def resident_bytes(device: torch.device) -> int:
    """Bytes held: of tensors on a GPU, else of the process."""
    if device.type == 'cuda':
        return torch.cuda.memory_allocated(device)
    return _of_status('VmRSS')


def weight_bytes(model: torch.nn.Module) -> int:
    """Bytes of a model's parameters and buffers."""
    return sum(x.numel() * x.element_size()
               for x in (*model.parameters(), *model.buffers()))


def peak_bytes(device: torch.device, job: Callable[[], object]) -> int:
    """The most that a call held beyond what was held before it.

    On a GPU from the allocator. On a CPU from the resident set, which the
    kernel counts in pages; what the C library keeps is given back before.
    """
    gc.collect()
    if device.type == 'cuda':
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        job()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    before = _of_status('VmRSS')
    try:
        # 5 resets the peak (proc(5)); not every container allows it.
        Path('/proc/self/clear_refs').write_text('5', encoding='utf-8')
    except OSError:
        return _watched(job) - before
    job()
    return max(0, _of_status('VmHWM') - before)


def _watched(job: Callable[[], object]) -> int:
    """The highest of many looks, where the kernel does not keep it."""
    highest, ended = _of_status('VmRSS'), threading.Event()

    def watch():
        nonlocal highest
        while not ended.wait(0.002):
            highest = max(highest, _of_status('VmRSS'))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        job()
    finally:
        ended.set()
        watcher.join()
    return max(highest, _of_status('VmRSS'))


def _of_status(key: str) -> int:
    try:
        for line in STATUS.read_text(encoding='utf-8').splitlines():
            if line.startswith(key + ':'):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    import resource  # not on Windows, which has no /proc either
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used * 1024
