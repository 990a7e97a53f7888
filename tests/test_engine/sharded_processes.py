# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""What each process of test_sharding.py does."""

import json  # noqa: I001 (the package comes before the toolbox)
import os
import sys
from pathlib import Path

import torch
from tiny_run import build

from mmengine.model import BaseModel
from mmpretrain.structures import DataSample
from torch.distributed.tensor import DTensor
from torch.utils.data import Dataset

from mmpretrain_minigpt4.cli.exits import guarded
from mmpretrain_minigpt4.errors import ConfigError
from mmpretrain_minigpt4.registry import MODELS

OURS = 'mmpretrain_minigpt4.'
TEXTS = ('a red square', 'one circle', 'three green shapes', 'no')


class Pictures(Dataset):
    """Four images with captions."""

    def __len__(self):
        return len(TEXTS)

    def __getitem__(self, index):
        image = torch.randn(
            3, 28, 28, generator=torch.Generator().manual_seed(index))
        sample = DataSample()
        sample.set_field(TEXTS[index], 'gt_caption')
        return dict(images=image, data_samples=sample)


def new_model() -> BaseModel:
    torch.manual_seed(0)
    return MODELS.build(dict(
        type=OURS + 'MiniGPT4',
        backbone=dict(
            type=OURS + 'EVAViT', img_size=28, patch_size=14, embed_dims=16,
            num_layers=1, num_heads=2, feedforward_channels=24),
        neck=None,
        projector=dict(
            type=OURS + 'LinearProjector', in_channels=16, out_channels=32),
        head=dict(
            type=OURS + 'VicunaHead',
            llm=dict(
                config=dict(
                    model_type='llama', vocab_size=640, hidden_size=32,
                    intermediate_size=48, num_hidden_layers=2,
                    num_attention_heads=2, max_position_embeddings=256),
                tokenizer='asset://tiny/llm'))))


def main():
    folder = Path(sys.argv[1])
    rank = int(os.environ['RANK'])

    # What one process says to each batch, in the sampler's order.
    whole = new_model()
    weight = whole.projector.state_dict()
    gradients = []
    for half in ((0, 2), (1, 3)):
        items = [Pictures()[i] for i in half]
        whole.zero_grad()
        whole(torch.stack([x['images'] for x in items]),
              [x['data_samples'] for x in items], mode='loss')[
                  'loss'].backward()
        gradients.append({name: x.grad.clone() for name, x in
                          whole.projector.named_parameters()})
    wanted = {name: weight[name] - (gradients[0][name] + gradients[1][name])
              / 2 for name in gradients[0]}

    model = new_model()
    runner = build(
        folder / 'run', steps=1, model=model, launcher='pytorch',
        dataset=Pictures(), param_scheduler=None,
        cfg=dict(shard_language_model=True),
        loader=dict(
            batch_size=2, sampler=dict(type='DefaultSampler', shuffle=False)),
        wrapper=dict(optimizer=dict(type='SGD', lr=1., weight_decay=0.)))
    shares = {name: (x.to_local().numel(), x.numel())
              for name, x in model.head.llm.named_parameters()
              if isinstance(x, DTensor)}
    runner.train()
    report = dict(
        shares=shares,
        error=max((x.detach() - wanted[name]).abs().max().item()
                  for name, x in model.projector.named_parameters()),
        moved=max((wanted[name] - weight[name]).abs().max().item()
                  for name in wanted))
    try:
        model(torch.randn(1, 3, 28, 28), mode='predict')
    except ConfigError as error:
        report['answers'] = str(error)
    (folder / f'rank{rank}.json').write_text(json.dumps(report))


sys.exit(guarded(main, 'sharded_processes'))
