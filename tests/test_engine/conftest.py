# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Keeps the log files of many small runs from piling up."""

import logging

import pytest


@pytest.fixture(autouse=True)
def close_logs():
    """mmengine keeps every run's log file open."""
    yield
    from mmengine.logging import MMLogger
    for logger in MMLogger._instance_dict.values():
        for handler in logger.handlers:
            if isinstance(handler, logging.FileHandler):
                handler.close()
