# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Images to descriptions."""

from typing import Any

from mmpretrain.apis import ImageCaptionInferencer

from .inferencer import MiniGPT4Inferencer


class CaptionInferencer(MiniGPT4Inferencer, ImageCaptionInferencer):
    """Describes images; what ``mmpretrain.ImageCaptionInferencer`` becomes.

    Args: see :class:`MiniGPT4Inferencer`.

    Example:
        >>> from mmpretrain_minigpt4.apis import CaptionInferencer
        >>> inferencer = CaptionInferencer('minigpt-4_vicuna-7b_caption')
        >>> inferencer('image.jpg', max_new_tokens=60)[0]['pred_caption']
    """

    task = 'caption'
    task_name = 'Image Caption'
    draw = 'visualize_image_caption'

    def __call__(self,
                 images: Any,
                 return_datasamples: bool = False,
                 batch_size: int = 1,
                 **kwargs: Any) -> list:
        """Describe images.

        Args:
            images: A path, a folder, bytes, a PIL image, an array
                uint8[H, W, 3] in BGR order, a data URI, or a list of these.
            return_datasamples: Give data samples rather than dicts.
            batch_size: Images answered at once.
            **kwargs: ``prompt`` (one for all images, or a list), the
                decoding options of ``generation.SamplingParams``, and
                ``show``, ``show_dir``, ``wait_time``, ``resize``.

        Returns:
            For each image ``{'pred_caption': str}``.

        Raises:
            ImageError: If an image cannot be read; the message names it.
        """
        items = [dict(img=image) for image in self._inputs_to_list(images)]
        return self.answer(items, return_datasamples, batch_size, **kwargs)
