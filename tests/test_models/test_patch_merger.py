# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""PatchMerger: which patches end up where."""

import pytest
import torch

from mmpretrain_minigpt4.errors import ConfigError
from mmpretrain_minigpt4.models.necks import PatchMerger
from mmpretrain_minigpt4.registry import MODELS


def test_four_consecutive_patches_become_one_token_without_the_cls_token():
    # Token t of width 2 holds (10t, 10t + 1); token 0 is CLS.
    tokens = torch.tensor([[[10 * t, 10 * t + 1] for t in range(9)]])
    (merged, ) = PatchMerger(num_patches=4)((tokens, ))
    assert merged.tolist() == [[[10, 11, 20, 21, 30, 31, 40, 41],
                                [50, 51, 60, 61, 70, 71, 80, 81]]]


def test_full_size_gives_64_tokens_of_width_5632():
    (merged, ) = PatchMerger()((torch.empty(1, 257, 1408, device='meta'), ))
    assert merged.shape == (1, 64, 5632)


def test_it_has_no_parameters_and_is_built_from_a_config():
    merger = MODELS.build(dict(type='mmpretrain_minigpt4.PatchMerger'))
    assert not list(merger.state_dict())


def test_patches_that_do_not_divide_are_refused():
    with pytest.raises(ConfigError, match='9 patches cannot be merged by 4'):
        PatchMerger()((torch.zeros(1, 10, 8), ))
    with pytest.raises(ConfigError, match='1 or more'):
        PatchMerger(num_patches=0)
