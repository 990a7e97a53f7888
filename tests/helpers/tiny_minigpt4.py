# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""A small MiniGPT-4 with random weights, and images with captions."""

import torch  # noqa: I001 (the package comes before the toolbox)
from torch.utils.data import Dataset

from mmpretrain_minigpt4.llm.lora import lora_parameters
from mmpretrain_minigpt4.registry import MODELS
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmpretrain.structures import DataSample

OURS = 'mmpretrain_minigpt4.'
TEXTS = ('a red square', 'one circle', 'three green shapes', 'no',
         'two of them')


class Pictures(Dataset):
    """Up to five images with captions, of different lengths."""

    def __init__(self, size=4, texts=TEXTS):
        self.texts = texts[:size]

    def __len__(self):
        return len(self.texts)

    def __getitem__(self, index):
        image = torch.randn(
            3, 28, 28, generator=torch.Generator().manual_seed(index))
        sample = DataSample()
        sample.set_field(self.texts[index], 'gt_caption')
        return dict(inputs=image, data_samples=sample)

    def batch(self, indices):
        """Images and samples, as a model takes them."""
        items = [self[i] for i in indices]
        return (torch.stack([x['inputs'] for x in items]),
                [x['data_samples'] for x in items])


class Said(BaseMetric):
    """Keeps all answers, in order (in the first process)."""

    default_prefix = 'said'

    def process(self, data_batch, data_samples):
        self.results += [x['pred_caption'] for x in data_samples]

    def compute_metrics(self, results):
        self.all = list(results)
        return dict(number=len(results))


def new_model(**options) -> BaseModel:
    """The same weights at each call; ``head`` is merged, others replace."""
    head = dict(
        type=OURS + 'VicunaHead',
        generation=dict(max_new_tokens=5),
        llm=dict(
            config=dict(
                model_type='llama', vocab_size=640, hidden_size=32,
                intermediate_size=48, num_hidden_layers=2,
                num_attention_heads=2, max_position_embeddings=256),
            tokenizer='asset://tiny/llm'))
    head.update(options.pop('head', {}))
    torch.manual_seed(0)
    return MODELS.build(dict(
        dict(
            type=OURS + 'MiniGPT4',
            backbone=dict(
                type=OURS + 'EVAViT', img_size=28, patch_size=14,
                embed_dims=16, num_layers=1, num_heads=2,
                feedforward_channels=24),
            neck=None,
            data_preprocessor=dict(),
            projector=dict(
                type=OURS + 'LinearProjector', in_channels=16,
                out_channels=32),
            head=head),
        **options))


def warm(model) -> BaseModel:
    """Give LoRA an effect, which it has not at its start."""
    for i, x in enumerate(lora_parameters(model.head.llm).values()):
        torch.nn.init.normal_(x, generator=torch.Generator().manual_seed(i))
    return model


def trained(model) -> dict[str, torch.Tensor]:
    """Copies of what is trained."""
    return {name: x.detach().clone() for name, x in model.named_parameters()
            if x.requires_grad}


def after_a_step(model, halves, data=None) -> dict[str, torch.Tensor]:
    """What is trained, after a step of SGD on the mean of two gradients.

    Args:
        model: A model, which is left as it is.
        halves: The samples of each gradient.
        data: Of them.
    """
    data = Pictures() if data is None else data
    for half in halves:
        loss = model.train()(*data.batch(half), mode='loss')['loss']
        (loss / len(halves)).backward()
    after = {name: (x - x.grad).detach() for name, x
             in model.named_parameters() if x.requires_grad}
    model.zero_grad()
    return after


def furthest(mine, others) -> float:
    """The largest difference of two dicts of tensors."""
    assert mine.keys() == others.keys()
    return max((mine[k] - others[k]).abs().max().item() for k in mine)


SGD = dict(optimizer=dict(type='SGD', lr=1., weight_decay=0.))


def loader(data, batch_size=2, **options) -> dict:
    """A loader's config, in order."""
    return dict(
        dict(
            batch_size=batch_size, num_workers=0, dataset=data,
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='default_collate')),
        **options)
