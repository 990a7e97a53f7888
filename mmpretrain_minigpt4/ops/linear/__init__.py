# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Linear layers of frozen weights: prepacked, merged, and in 8 bits."""
