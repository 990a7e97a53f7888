# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
from . import benchmarks
from .caption_json import CaptionJSON
from .cc_sbu_align import CCSBUAlign
from .collating import list_images, one_instruction
from .conversations import Conversations, EachImage
from .image_text_folder import ImageTextFolder
from .look_up_features import LookUpFeatures
from .minigpt4_json import MiniGPT4JSON
from .shapes.dataset import ShapesDataset
from .shards import ImageTextShards
from .text_cleaning import CleanCaption
from .transforms import LoadImage

__all__ = [
    'CCSBUAlign', 'CaptionJSON', 'CleanCaption', 'Conversations', 'EachImage',
    'ImageTextFolder', 'ImageTextShards', 'LoadImage', 'LookUpFeatures',
    'MiniGPT4JSON', 'ShapesDataset', 'benchmarks', 'list_images',
    'one_instruction'
]
