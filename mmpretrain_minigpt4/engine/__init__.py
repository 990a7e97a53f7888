# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
from .hooks.broken_samples import BrokenSamplesHook
from .hooks.early_stopping import EarlyStoppingHook
from .hooks.sample_answers import SampleAnswersHook
from .hooks.save_trained import SaveTrainedHook
from .hooks.training_checkpoint import TrainingCheckpointHook
from .hooks.training_stats import TrainingStatsHook
from .hooks.visualization import TextVisualizationHook
from .optimizers.optim_wrapper import OptimWrapper, TrainedOnlyConstructor
from .optimizers.schedule import WarmupCosineLR
from .runners.eval_loop import EvalLoop
from .runners.runner import Runner
from .runners.train_loop import TrainLoop
from .runners.val_loop import LossValLoop

__all__ = [
    'BrokenSamplesHook', 'EarlyStoppingHook', 'LossValLoop', 'OptimWrapper',
    'Runner', 'SampleAnswersHook', 'SaveTrainedHook', 'EvalLoop',
    'TextVisualizationHook', 'TrainLoop', 'TrainedOnlyConstructor',
    'TrainingCheckpointHook', 'TrainingStatsHook', 'WarmupCosineLR'
]
