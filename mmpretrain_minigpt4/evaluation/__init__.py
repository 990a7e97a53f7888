# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
from .metrics.answer_metric import AnswerMetric, read_answers
from .metrics.caption_recall import CaptionRecall
from .metrics.caption_scores import CaptionScores
from .metrics.chair import CHAIR
from .metrics.degeneration import DegenerationRate
from .metrics.dump_predictions import DumpPredictions
from .metrics.mme import MME
from .metrics.multiple_choice import MultipleChoice
from .metrics.shapes import ShapesDescription, ShapesQuestions
from .metrics.vqa_accuracy import VQAAccuracy
from .metrics.yes_no import POPE, YesNoAccuracy

__all__ = [
    'AnswerMetric', 'CHAIR', 'CaptionScores', 'CaptionRecall',
    'DegenerationRate', 'MME', 'MultipleChoice', 'POPE', 'DumpPredictions',
    'ShapesDescription', 'ShapesQuestions', 'VQAAccuracy', 'YesNoAccuracy',
    'read_answers'
]
