# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Scoring without state: texts in, verdicts and numbers out."""
