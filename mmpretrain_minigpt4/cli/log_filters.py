# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""What libraries say of themselves when they are imported is not the user's.

Errors stay, and so do this package's own warnings: only notices of other
packages are silenced. ``python -W`` and ``TRANSFORMERS_VERBOSITY`` bring
theirs back.
"""

import logging
import os
import sys
import warnings
from pathlib import Path

from .exit_codes import one_line

PACKAGE = Path(__file__).resolve().parents[1]
# transformers and peft import these wherever they are installed; they tell
# of every kernel that this machine is not for.
CHATTY = ('torchao', 'torch.utils._pytree', 'bitsandbytes')
# What the toolbox warns of while it is imported.
NOTICES = ('pkg_resources is deprecated', 'Fail to import ``MultiScale')


def quiet_imports() -> None:
    """Silence what other packages tell when a model's code is imported.

    To be called before anything of the toolbox is imported.
    """
    os.environ.setdefault('TRANSFORMERS_VERBOSITY', 'error')
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR)
    if not sys.warnoptions:
        for start in NOTICES:
            warnings.filterwarnings('ignore', start)


def quiet_libraries(program: str = 'minigpt4', progress: bool = True) -> None:
    """Silence their warnings and, in a pipe, their progress bars as well.

    Args:
        program: The name that this package's own warnings start with.
        progress: Whether bars are welcome on a terminal.
    """
    quiet_imports()
    if not (progress and sys.stderr.isatty()):
        os.environ.setdefault('HF_HUB_DISABLE_PROGRESS_BARS', '1')
    if sys.warnoptions:
        return
    warnings.simplefilter('ignore')
    warnings.filterwarnings(
        'default', category=UserWarning, module=rf'{PACKAGE.name}\.')
    usual = warnings.showwarning

    def show(message, category, filename, lineno, file=None, line=None):
        if Path(filename).is_relative_to(PACKAGE) and file is None:
            print(f'{program}: warning: {one_line(message)}',
                  file=sys.stderr)
        else:
            usual(message, category, filename, lineno, file, line)

    warnings.showwarning = show
