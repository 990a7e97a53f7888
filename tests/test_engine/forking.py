# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Fork a process that uses torch without ever hanging the tests."""

import os
import signal

import torch


def fork():
    """As ``os.fork``; the child computes in one thread, for two minutes.

    The threads of OpenMP do not live on in a child: one that waits for them
    would wait for ever.
    """
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(120)
    return child
