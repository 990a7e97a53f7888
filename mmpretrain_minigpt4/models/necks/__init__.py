# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
from .patch_merger import PatchMerger
from .projector import LinearProjector
from .q_former import QFormer

__all__ = ['LinearProjector', 'PatchMerger', 'QFormer']
