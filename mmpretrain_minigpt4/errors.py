# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The errors a user can meet, each naming the input and the fix.

Every class also derives from the built-in a caller would expect, so code
that catches ``ValueError`` or ``FileNotFoundError`` goes on working.
"""


class MiniGPT4Error(Exception):
    """Base of every error that this package raises on purpose."""


class ImageError(MiniGPT4Error, ValueError):
    """An image cannot be read, or is outside the limits."""


class PromptError(MiniGPT4Error, ValueError):
    """A prompt, question or conversation cannot be turned into tokens."""


class GenerationError(MiniGPT4Error, ValueError):
    """A decoding option has a value that has no meaning."""


class CheckpointError(MiniGPT4Error, ValueError):
    """A checkpoint cannot be read, or does not fit the model."""


class ConfigError(MiniGPT4Error, ValueError):
    """A config value does not fit the part that it configures."""


class FeatureCacheError(ConfigError):
    """Cached features are missing, damaged or not those of the config."""


class DatasetError(MiniGPT4Error, ValueError):
    """A data set is missing, misplaced or not of its stated format."""


class MissingWeightsError(MiniGPT4Error, FileNotFoundError):
    """Weights that must be provided by the user are not where they should be.

    ``FileNotFoundError`` formats itself from errno; a plain message is wanted
    here, so ``__str__`` returns the message alone.
    """

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ''


class BenchmarkError(MiniGPT4Error, RuntimeError):
    """A measurement cannot be made, or would say nothing."""


class TrainingError(MiniGPT4Error, RuntimeError):
    """A training run cannot go on; its checkpoints are whole."""


class NotFiniteError(TrainingError):
    """The loss or the gradient was NaN or infinite, too often in a row."""
