# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
from . import benchmarks
from .collating import list_images, one_instruction
from .readers.caption_json import CaptionJSON
from .readers.cc_sbu_align import CCSBUAlign
from .readers.conversations import Conversations, EachImage
from .readers.image_text_folder import ImageTextFolder
from .readers.minigpt4_json import MiniGPT4JSON
from .readers.shards import ImageTextShards
from .shapes.dataset import ShapesDataset
from .transforms.clean_caption import CleanCaption
from .transforms.load_image import LoadImage
from .transforms.look_up_features import LookUpFeatures

__all__ = [
    'CCSBUAlign', 'CaptionJSON', 'CleanCaption', 'Conversations', 'EachImage',
    'ImageTextFolder', 'ImageTextShards', 'LoadImage', 'LookUpFeatures',
    'MiniGPT4JSON', 'ShapesDataset', 'benchmarks', 'list_images',
    'one_instruction'
]
