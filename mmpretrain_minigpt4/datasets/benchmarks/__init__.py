# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
from .captions import COCOFormatCaptions, KarpathyCaptions
from .choices import AOKVQA, IconQAChoices, MMBench, ScienceQAImages, SEEDBench
from .open_questions import (
    GQAQuestions,
    MMVetQuestions,
    TextVQAQuestions,
    VizWizQuestions,
    VQAQuestions,
)
from .yes_no import HatefulMemes, MMEQuestions, POPEQuestions, VSRStatements

__all__ = [
    'AOKVQA', 'COCOFormatCaptions', 'GQAQuestions', 'HatefulMemes',
    'IconQAChoices', 'KarpathyCaptions', 'MMBench', 'MMEQuestions',
    'MMVetQuestions', 'POPEQuestions', 'SEEDBench', 'ScienceQAImages',
    'TextVQAQuestions', 'VQAQuestions', 'VSRStatements', 'VizWizQuestions'
]
