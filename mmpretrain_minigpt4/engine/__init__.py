# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
from .broken_samples import BrokenSamplesHook
from .checkpoint_hook import TrainingCheckpointHook
from .early_stopping import EarlyStoppingHook
from .optim_wrapper import OptimWrapper, TrainedOnlyConstructor
from .runner import Runner
from .sample_answers import SampleAnswersHook
from .save_trained import SaveTrainedHook
from .schedule import WarmupCosineLR
from .stats import TrainingStatsHook
from .test_loop import TestLoop
from .train_loop import TrainLoop
from .val_loop import LossValLoop
from .visualization import TextVisualizationHook

__all__ = [
    'BrokenSamplesHook', 'EarlyStoppingHook', 'LossValLoop', 'OptimWrapper',
    'Runner', 'SampleAnswersHook', 'SaveTrainedHook', 'TestLoop',
    'TextVisualizationHook', 'TrainLoop', 'TrainedOnlyConstructor',
    'TrainingCheckpointHook', 'TrainingStatsHook', 'WarmupCosineLR'
]
