# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The language model: found, loaded, tokenised, run, quantised."""
