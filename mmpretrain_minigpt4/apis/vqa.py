# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Images and questions to answers."""

from collections.abc import Sequence
from typing import Any

from mmpretrain.apis import VisualQuestionAnsweringInferencer

from .inferencer import MiniGPT4Inferencer


class VQAInferencer(MiniGPT4Inferencer, VisualQuestionAnsweringInferencer):
    """Answers questions about images.

    ``mmpretrain.VisualQuestionAnsweringInferencer`` becomes this for a model
    of ours.

    Args: see :class:`MiniGPT4Inferencer`.

    Example:
        >>> from mmpretrain_minigpt4.apis import VQAInferencer
        >>> inferencer = VQAInferencer('minigpt-4_vicuna-7b_vqa')
        >>> inferencer('image.jpg', 'What is this?')[0]['pred_answer']
    """

    task = 'vqa'
    task_name = 'Visual Question Answering'
    draw = 'visualize_vqa'

    def __call__(self,
                 images: Any,
                 questions: str | Sequence[str],
                 return_datasamples: bool = False,
                 batch_size: int = 1,
                 **kwargs: Any) -> list:
        """Answer a question about each image.

        Args:
            images: As for :class:`CaptionInferencer`.
            questions: One for each image, or one for all.
            return_datasamples: Give data samples rather than dicts.
            batch_size: Images answered at once.
            **kwargs: As for :class:`CaptionInferencer`.

        Returns:
            For each image ``{'question': str, 'pred_answer': str}``.

        Raises:
            ImageError: If an image cannot be read; the message names it.
            ConfigError: If there are not as many questions as images.
        """
        images = self._inputs_to_list(images)
        questions = self._one_each(questions, len(images), 'questions')
        items = [
            dict(img=image, question=question)
            for image, question in zip(images, questions, strict=True)
        ]
        return self.answer(items, return_datasamples, batch_size, **kwargs)
