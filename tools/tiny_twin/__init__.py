# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""How the frozen parts of the tiny twin came to be.

``tools/make_tiny_twin.py`` runs these rooms in order: tokenizer, language
model (base, then chat), vision (throw-away decoder, then through the frozen
base language model). The two stages of the projection are not here: they are
ordinary configs, trained by ``tools/train.py``.
"""
