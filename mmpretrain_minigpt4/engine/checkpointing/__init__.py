# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Training checkpoints: what a run has to remember, and how it is kept."""
