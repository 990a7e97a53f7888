# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""What every test needs: the package before the toolbox, and no network."""

import os

# Before transformers or huggingface_hub read them: a test never downloads.
os.environ.setdefault('HF_HUB_OFFLINE', '1')
os.environ.setdefault('TRANSFORMERS_OFFLINE', '1')

import mmpretrain_minigpt4  # noqa: E402, F401, I001
import torch  # noqa: E402

# Without a GPU, kernels are tested in Triton's interpreter, for which Triton's
# own functions must be imported, before others import them for a GPU.
if not torch.cuda.is_available() and 'TRITON_INTERPRET' not in os.environ:
    os.environ['TRITON_INTERPRET'] = '1'
    try:
        import triton.language  # noqa: F401
    except ImportError:
        pass
    del os.environ['TRITON_INTERPRET']

import gc  # noqa: E402
import logging  # noqa: E402

import pytest  # noqa: E402

pytest_plugins = ['helpers.fixtures']

# Handlers of libraries keep the stream that one test captured beyond its end;
# what they log later would be a traceback in another test's output.
logging.raiseExceptions = False


def pytest_addoption(parser):
    parser.addoption(
        '--run-slow',
        action='store_true',
        help='also run the tests that take minutes or install packages')
    parser.addoption(
        '--run-upstream',
        action='store_true',
        help='also ask whether other packages still have the defects that '
        'this one works around')


def pytest_collection_modifyitems(config, items):
    slow = pytest.mark.skip(reason='slow; run with --run-slow')
    gpu = pytest.mark.skip(reason='needs a CUDA device')
    upstream = pytest.mark.skip(
        reason='about releases of others; run with --run-upstream')
    for item in items:
        if 'slow' in item.keywords and not config.getoption('--run-slow'):
            item.add_marker(slow)
        if 'upstream' in item.keywords and not config.getoption(
                '--run-upstream'):
            item.add_marker(upstream)
        if 'gpu' in item.keywords and not _has_gpu():
            item.add_marker(gpu)


def pytest_collection_finish(session):
    # Data sets of the toolbox collect garbage when they are built, a third of
    # a second each while all libraries are looked through: set those aside.
    gc.collect()
    gc.freeze()


def pytest_sessionfinish(session):
    gc.unfreeze()


def _has_gpu() -> bool:
    import torch
    return torch.cuda.is_available()
