# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Images seen before they are needed, and their names."""

import pytest
import torch

from mmpretrain_minigpt4.models.heads.visual_tokens import (
    _sums,
    image_hashes,
    token_hashes,
)
from mmpretrain_minigpt4.models.image_prefetch import prefetch


class Eye(torch.nn.Module):
    """Sees an image's first two numbers, and counts."""
    device = torch.device('cpu')
    calls = 0

    def data_preprocessor(self, batch, training):
        return dict(images=batch['inputs'])

    def extract_feat(self, images):
        self.calls += 1
        # float[B, 3, H, W] -> float[B, 1, 2]
        return torch.as_tensor(images).flatten(1)[:, None, :2].float()


def batches(number):
    torch.manual_seed(0)
    for i in range(number):
        images = torch.randint(0, 255, (2, 3, 2, 2), dtype=torch.uint8)
        images[1] = 7  # in all of them
        yield dict(inputs=images, data_samples=[f'{i}a', f'{i}b'])


def test_every_sample_comes_with_its_own_images():
    found = list(prefetch(Eye(), batches(3)))
    assert [seen.sample for seen in found] == [
        '0a', '0b', '1a', '1b', '2a', '2b']
    for seen, image in zip(found, [
            image for batch in batches(3) for image in batch['inputs']],
            strict=True):
        assert seen.tokens.shape == (1, 1, 2)
        assert torch.equal(seen.tokens.flatten(),
                           image.flatten()[:2].float())


def test_equal_images_have_equal_names_and_others_have_others():
    found = [seen.hashes for seen in prefetch(Eye(), batches(3))]
    assert found[1] == found[3] == found[5]
    assert len(set(found)) == 4


def test_batches_are_read_only_as_they_are_needed():
    eye = Eye()
    seen = prefetch(eye, batches(5))
    next(seen), next(seen)
    assert eye.calls == 1


def test_names_by_sums_are_equal_for_equal_images_alone():
    torch.manual_seed(0)
    images = torch.randn(6, 3, 5)
    images[3] = images[1]
    images[5] = images[1]
    images[5, 2, 4] += 1e-6
    for kind in (torch.float32, torch.bfloat16):
        sums = [tuple(x) for x in _sums(images[:5].to(kind)).tolist()]
        assert sums[1] == sums[3] and len(set(sums)) == 4
    assert not torch.equal(_sums(images)[1], _sums(images)[5])


def test_a_prompt_is_named_by_its_words_and_its_images():
    torch.manual_seed(0)
    tokens = torch.randn(2, 3, 4)
    ids = [5, -1, -1, -1, 8, -1, -1, -1]
    keys = token_hashes(ids, tokens)
    assert keys == token_hashes(ids, tokens.clone(), image_hashes([tokens])[0])
    assert keys[0] == 5 and keys[4] == 8 and len(set(keys)) == 8
    assert all(key < 0 for key in keys[1:4] + keys[5:])
    other = token_hashes(ids, tokens, ('a', 'b'))
    assert other == token_hashes(ids, torch.zeros(2, 3, 4), ('a', 'b'))
    assert not set(other[1:4]) & set(keys)


@pytest.mark.gpu
@pytest.mark.parametrize('prefetch_images', [None, False])
def test_seeing_ahead_on_a_gpu_changes_nothing(prefetch_images):
    eye = Eye()
    expected = list(prefetch(eye, batches(4)))
    eye.device = torch.device('cuda')
    eye.data_preprocessor = lambda batch, training: dict(
        images=batch['inputs'].to('cuda', non_blocking=True))
    for found, wanted in zip(prefetch(eye, batches(4), prefetch_images),
                             expected,
                             strict=True):
        assert found.hashes == wanted.hashes
        assert torch.equal(found.tokens.cpu(), wanted.tokens)
    tokens = torch.randn(2, 3, 4, device='cuda')
    assert image_hashes([tokens]) == image_hashes([tokens.clone()])
