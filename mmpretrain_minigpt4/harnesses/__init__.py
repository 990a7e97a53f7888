# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""How evaluation harnesses of others reach the models.

What an entry point of ``setup.cfg`` names is here, and imports a harness
only when that harness itself asks.
"""

from typing import Any


def lmms_eval_models() -> Any:
    """What lmms-eval (from 0.7) is told of us: the name ``minigpt4``.

    Returns:
        lmms_eval.models.registry_v2.ModelManifest: The model's name and its
        class.
    """
    from lmms_eval.models.registry_v2 import ModelManifest
    return ModelManifest(
        model_id='minigpt4',
        simple_class_path=f'{__name__}.lmms_eval.MiniGPT4')
