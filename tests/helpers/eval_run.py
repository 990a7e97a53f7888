# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""A model that answers sums, and test runs of it that can be broken off."""

from itertools import count
from types import SimpleNamespace

import torch
from mmengine.dataset import BaseDataset
from mmengine.model import BaseModel
from mmpretrain.structures import DataSample

from mmpretrain_minigpt4.engine import Runner
from mmpretrain_minigpt4.errors import ImageError, PromptError
from mmpretrain_minigpt4.evaluation import AnswerMetric
from mmpretrain_minigpt4.evaluation.metrics.answer_metric import percent
from mmpretrain_minigpt4.generation import SamplingParams

_number = count()


class Sums(BaseDataset):
    """Questions ``i + 1`` with the image of one pixel of color ``i``."""

    def __init__(self, size=10, broken=(), **kwargs):
        self.size = size
        self.broken = broken
        super().__init__(test_mode=True, **kwargs)

    def load_data_list(self):
        return [dict(question=f'{i} + 1', question_id=f'q{i}')
                for i in range(self.size)]

    def prepare_data(self, index):
        if index in self.broken:
            raise ImageError(f'image {index} is torn.')
        info = self.get_data_info(index)
        sample = DataSample()
        sample.set_field(info['question'], 'question', dtype=None)
        sample.set_field(index + 1, 'gt_answer', dtype=None)
        sample.set_metainfo(dict(question_id=info['question_id']))
        return dict(inputs=torch.full((3, 1, 1), float(index)),
                    data_samples=sample)


class SumsRight(AnswerMetric):
    """The share of right sums."""

    default_prefix = 'sums'
    needs = ('gt_answer', 'question')

    def judge(self, record):
        return dict(right=record['answer'] == str(record['gt_answer']))

    def summary(self, details):
        return dict(right=percent(d['right'] for d in details),
                    asked=len(details))


class Counting(BaseModel):
    """Adds its weight to the first number; notes what it was asked.

    Args:
        one: Its weight.
        die_at: End at this question.
        refuse: Questions that are too long for it.
    """

    def __init__(self, one=1., die_at=None, refuse=(),
                 prompt='Add.', **generation):
        super().__init__()
        self.one = torch.nn.Parameter(torch.tensor(one))
        self.head = SimpleNamespace(
            reader=SimpleNamespace(
                task='vqa', template=SimpleNamespace(name='bare'),
                default=prompt, question_template='{question}'),
            generation=SamplingParams.from_dict(generation))
        self.die_at, self.refuse = die_at, refuse
        self.asked = []

    def forward(self, inputs, data_samples, mode='tensor'):
        for image, sample in zip(inputs, data_samples, strict=True):
            first = int(sample.question.split()[0])
            if first in self.refuse:
                raise PromptError(f'question {first} is too long.')
            if first == self.die_at:
                raise KeyboardInterrupt
            assert float(image.flatten()[0]) == first
            # Every third sum is wrong.
            off = first % 3 == 2
            sample.set_field(str(int(first + self.one) + off), 'pred_answer')
            self.asked.append(first)
        return data_samples


def build(work_dir, model=None, size=10, broken=(), batch_size=3, hooks=(),
          launcher='none', **loop):
    model = Counting() if model is None else model
    return Runner(
        model=model,
        work_dir=str(work_dir),
        launcher=launcher,
        test_dataloader=dict(
            batch_size=batch_size,
            num_workers=0,
            sampler=dict(type='DefaultSampler', shuffle=False),
            collate_fn=dict(type='default_collate'),
            dataset=Sums(size=size, broken=broken)),
        test_evaluator=[SumsRight()],
        test_cfg=dict(type='mmpretrain_minigpt4.EvalLoop', **loop),
        custom_hooks=list(hooks),
        log_level='ERROR',
        randomness=dict(seed=3),
        experiment_name=f'asked{next(_number)}')


def test_together(folder, rank):
    """What each of two processes does: a whole run, and half of one."""
    options = dict(launcher='pytorch', size=11)
    whole = build(f'{folder}/asked', **options)
    report = dict(scores=whole.test(), asked=whole.model.module.asked)
    # Both are broken off, with some answers given.
    try:
        build(f'{folder}/asked_cut', model=Counting(die_at=6 + rank),
              **options).test()
    except KeyboardInterrupt:
        report['broken_off'] = True
    return report


test_together.__test__ = False
