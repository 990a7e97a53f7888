# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The pipeline step that takes cached features in place of an image.

Legend: n images of a sample, Q visual tokens of an image, C their width.
"""

from typing import Any

import torch
from mmcv.transforms import BaseTransform

from ...errors import FeatureCacheError, ImageError
from ...features import FeatureStore, image_key, image_sources
from ...registry import TRANSFORMS


@TRANSFORMS.register_module()
class LookUpFeatures(BaseTransform):
    """Find the features of a sample's images; nothing is decoded.

    The switch ``model.features=DIR`` puts it in place of all steps that
    touch the image.

    Required Keys: ``img_paths``, ``img`` or ``img_path``. Added Keys: the
    ``input_key``, [Q, C], or [n, Q, C] for ``img_paths``.

    Args:
        features: The folder of the cache.
        input_key: Where the packing step looks.

    Raises:
        FeatureCacheError: If there is no such cache, or it is damaged.
    """

    reads_image = True

    def __init__(self, features: str, input_key: str = 'img') -> None:
        self.store = FeatureStore(features)
        self.input_key = input_key

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Look them up.

        Raises:
            ImageError: If an image is missing, or was found broken when the
                cache was written.
            FeatureCacheError: If the cache does not have an image.
        """
        found = [
            self._look_up(source, name)
            for source, name in image_sources(results)
        ]
        if 'img_paths' in results:
            empty = torch.empty(0, *self.store.index.shape)
            # n times [Q, C] -> [n, Q, C]
            results[self.input_key] = torch.stack(found) if found else empty
        else:
            results[self.input_key] = found[0]
        return results

    def _look_up(self, source: Any, name: str) -> torch.Tensor:
        key = image_key(source)
        features = self.store.get(key)
        if features is not None:
            return features
        fault = self.store.index.broken.get(key.hex())
        if fault is not None:
            raise ImageError(fault['reason'])
        raise FeatureCacheError(
            f'The features in {str(self.store.folder)!r} have none of the '
            f'image {name!r}: it is new, or was changed since they were '
            'written. Add what is missing by `minigpt4 cache-features CONFIG '
            f'--out {self.store.folder}` (those of the validation with '
            '--loader val_dataloader).')

    def __repr__(self) -> str:
        return f'{type(self).__name__}({str(self.store.folder)!r})'
