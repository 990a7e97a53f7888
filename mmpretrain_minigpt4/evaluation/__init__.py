# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
from .answers import AnswerMetric, read_answers
from .caption_scores import CaptionScores
from .chair import CHAIR
from .covered_captions import CoveredCaptions
from .failures import FailedGenerations
from .mme import MME
from .multiple_choice import MultipleChoice
from .pope import POPE, YesNoAccuracy
from .save_answers import SaveAnswers
from .shapes import ShapesDescription, ShapesQuestions
from .vqa_accuracy import VQAAccuracy

__all__ = [
    'AnswerMetric', 'CHAIR', 'CaptionScores', 'CoveredCaptions',
    'FailedGenerations', 'MME', 'MultipleChoice', 'POPE', 'SaveAnswers',
    'ShapesDescription', 'ShapesQuestions', 'VQAAccuracy', 'YesNoAccuracy',
    'read_answers'
]
