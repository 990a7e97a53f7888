# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Everything about weights in files: reading, renaming, loading, saving.

A file of any layout in the wild becomes a state dict with this package's own
names (``to_native``), several files are merged into one model with a report
of where each tensor came from (``load_checkpoints``), and what was trained
is saved as safetensors (``save_trained``). Files are untrusted: nothing in
them is ever executed.
"""
