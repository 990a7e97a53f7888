# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
from .eva_vit import EVAViT

__all__ = ['EVAViT']
