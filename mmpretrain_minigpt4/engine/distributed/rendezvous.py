# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""How the processes of a run find each other, also at its second start.

torchrun keeps one store of keys for all starts of a run. Processes that it
starts again leave their addresses under the keys that the dead ones used, so
one that comes early reads the address of a dead one, and waits for it for
ever (pytorch/pytorch#135712; so in torch 2.13, gloo and NCCL alike). Here
all agree on a part of the store that no earlier start has written to.
"""

import os
import time
import uuid
from datetime import timedelta

from torch import distributed
from torch.distributed import DistError, PrefixStore, Store

from ...errors import TrainingError

PAUSE = 0.02  # seconds


def keeps_store() -> bool:
    """Whether torchrun started this process and keeps the store."""
    return os.environ.get('TORCHELASTIC_USE_AGENT_STORE') == 'True'


def rendezvous(timeout: timedelta) -> tuple[Store, int, int]:
    """Wait for the other processes of this start.

    Args:
        timeout: How long.

    Returns:
        tuple: A store of their own, the number of this process, and how many
        there are.

    Raises:
        TrainingError: If some do not come.
    """
    store, rank, size = next(distributed.rendezvous(
        'env://', timeout=timeout))
    store.set_timeout(timeout)
    if keeps_store():
        try:
            name = _join_start(store, rank) if rank else _lead_start(
                store, size, timeout)
        except DistError as error:
            raise TrainingError(
                f'Process {rank} waited {timeout.total_seconds():.0f} '
                f'seconds for the {size - 1} others of the run, in vain '
                '(env_cfg.dist_cfg.timeout): see whether all machines have '
                f'started, and reach the first one. ({error})') from error
        store = PrefixStore(f'start-{name}', store)
    return store, rank, size


def _join_start(store: Store, rank: int) -> str:
    own = uuid.uuid4().hex
    store.set(f'join-{rank}', own)
    # Nobody but the first process of this start answers to this name.
    name = store.get(f'start-of-{own}').decode()
    store.set(f'{name}-{own}', 'here')
    return name


def _lead_start(store: Store, size: int, timeout: timedelta) -> str:
    own = uuid.uuid4().hex
    end = time.monotonic() + timeout.total_seconds()
    answered: set[str] = set()
    while True:
        others = [store.get(f'join-{rank}').decode()
                  for rank in range(1, size)]
        # Of a dead process too, which does no harm.
        for other in others:
            if other not in answered:
                store.set(f'start-of-{other}', own)
                answered.add(other)
        if all(store.check([f'{own}-{other}']) for other in others):
            return own
        if time.monotonic() > end:
            raise DistError('some have joined and left')
        time.sleep(PAUSE)
