# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
from .caption_scores import CaptionScores
from .shapes import ShapesDescription, ShapesQuestions

__all__ = ['CaptionScores', 'ShapesDescription', 'ShapesQuestions']
