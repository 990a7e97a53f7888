# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""From pixels to text, each setting of the engine on and off: one text."""

import pytest
import torch
from benchmark.baseline import build_ours
from benchmark.dims import get_dims
from benchmark.inputs import make_samples

from mmpretrain_minigpt4.generation import EngineConfig
from mmpretrain_minigpt4.models.data_preprocessor import ImageListPreprocessor

DEVICES = ['cpu', pytest.param('cuda', marks=pytest.mark.gpu)]


@pytest.fixture(scope='module', params=DEVICES)
def model(request):
    device = torch.device(request.param)
    model = build_ours(get_dims('tiny'), 'float32', device)
    model.data_preprocessor = ImageListPreprocessor(
        (120., ) * 3, (70., ) * 3).to(device)
    return model


def answers(model, settings):
    """Texts by sample: ten images in batches of three, lengths uneven."""
    model.head.engine = settings
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (10, 3, 28, 28), dtype=torch.uint8,
                           generator=generator)
    samples = make_samples(model, 10, 40)
    batches = (dict(inputs=images[i:i + 3], data_samples=samples[i:i + 3])
               for i in range(0, 10, 3))
    for _, error in model.generate_stream(batches,
                                          max_num_seqs=4,
                                          max_new_tokens=12):
        assert error is None
    return [sample.pred_caption for sample in samples]


@pytest.fixture(scope='module')
def plain(model):
    return answers(
        model,
        EngineConfig(cuda_graphs=False,
                     kernels=False,
                     async_steps=0,
                     prefetch_images=False))


@pytest.mark.parametrize('settings', [
    dict(),
    dict(kernels=False),
    dict(cuda_graphs=True),
    dict(cuda_graphs=True, kernels=False, async_steps=2),
    dict(cuda_graphs=True, prefetch_images=False, enable_prefix_caching=False),
    dict(async_steps=1),
    dict(use_fast_forward=False, async_steps=1)
])
def test_no_setting_changes_a_text(model, plain, settings):
    assert answers(model, EngineConfig(**settings)) == plain
    assert len(set(plain)) > 1


def test_one_image_is_answered_as_in_a_batch(model):
    with torch.no_grad():
        model.head.engine = EngineConfig()
        images = torch.randn(3, 3, 28, 28, device=model.device)
        samples = make_samples(model, 3, 40)
        together = model(images, samples, mode='predict', max_new_tokens=9)
        texts = [sample.pred_caption for sample in together]
        for image, sample, text in zip(images, samples, texts, strict=True):
            alone, = model(image[None], [sample], mode='predict',
                           max_new_tokens=9)
            assert alone.pred_caption == text
