# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""What an evaluation leaves behind, and how a killed one goes on.

* ``fingerprint.py``: what answers depend on; two runs mix only if it is equal
* ``prediction_log.py``: answers, appended to a file as they come
* ``scoring.py``: metrics from recorded answers, in one process
* ``summary.py``: scores with all that they were made with
* ``report.py``, ``page.py``: the answers beside their images, to look at
"""

from .fingerprint import fingerprint, read_settings
from .prediction_log import PredictionLog, plain, to_record
from .report import write_report
from .scoring import score
from .summary import make_summary, write_json

__all__ = [
    'PredictionLog', 'fingerprint', 'make_summary', 'plain', 'read_settings',
    'score', 'to_record', 'write_json', 'write_report'
]
