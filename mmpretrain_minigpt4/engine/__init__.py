# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
from .save_trained import SaveTrainedHook

__all__ = ['SaveTrainedHook']
