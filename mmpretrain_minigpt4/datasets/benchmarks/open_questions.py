# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Questions with open answers: VQAv2, OK-VQA, GQA, TextVQA, VizWiz, MM-Vet."""

from collections.abc import Iterator

from ...errors import DatasetError
from ...registry import DATASETS
from ...utils.faults import Faults
from .base import BenchmarkDataset


@DATASETS.register_module()
class VQAQuestions(BenchmarkDataset):
    """VQAv2 and OK-VQA: a file of questions and one of ten answers each.

    Args:
        question_file: The file of questions; ``ann_file`` is that of
            answers, empty for a test split.
        image_name: An image's file name, with ``{image_id}``.
        kwargs: As of :class:`~.base.BenchmarkDataset`.
    """

    download = ('https://visualqa.org/download.html or '
                'https://okvqa.allenai.org/download.html; images: '
                'val2014.zip from https://cocodataset.org')
    layout = """
      data/coco/annotations/v2_OpenEnded_mscoco_val2014_questions.json
      data/coco/annotations/v2_mscoco_val2014_annotations.json
      data/okvqa/OpenEnded_mscoco_val2014_questions.json
      data/okvqa/mscoco_val2014_annotations.json
      data/coco/val2014/COCO_val2014_*.jpg"""

    def __init__(self,
                 question_file: str,
                 image_name: str = 'COCO_val2014_{image_id:012d}.jpg',
                 **kwargs) -> None:
        if '{image_id' not in image_name:
            raise DatasetError('image_name must hold {image_id}; it is '
                               f'{image_name!r}.')
        self.question_file = question_file
        self.image_name = image_name
        super().__init__(**kwargs)

    def read_items(self, faults: Faults) -> Iterator[dict]:
        """Yield questions with their answers."""
        questions = self.read_json(self.path(self.question_file),
                                   'questions')['questions']
        answers: dict = {}
        if self.ann_file:
            for raw in self.read_json(self.ann_file,
                                      'annotations')['annotations']:
                if raw['question_id'] in answers:
                    faults.add('repeated answers', raw['question_id'])
                answers[raw['question_id']] = raw
        for raw in questions:
            if not self.take(raw, faults, 'question_id', 'image_id',
                             'question'):
                continue
            item = dict(
                question_id=raw['question_id'],
                image_id=raw['image_id'],
                img_path=self.image(
                    self.image_name.format(image_id=raw['image_id'])),
                question=raw['question'])
            if self.ann_file:
                found = answers.pop(raw['question_id'], None)
                if found is None:
                    faults.add('questions without answers',
                               raw['question_id'])
                    continue
                item.update(
                    gt_answer=[a['answer'] for a in found['answers']],
                    question_type=found.get('question_type', 'none'),
                    answer_type=found.get('answer_type', 'none'))
            yield item
        for name in answers:
            faults.add('answers to no question', name)


@DATASETS.register_module()
class GQAQuestions(BenchmarkDataset):
    """GQA, in its own file (a dict of questions) or LAVIS' (a list)."""

    download = ('https://cs.stanford.edu/people/dorarad/gqa/download.html '
                '(questions1.2.zip, images.zip)')
    layout = """
      data/gqa/testdev_balanced_questions.json
      data/gqa/images/*.jpg"""

    def read_items(self, faults: Faults) -> Iterator[dict]:
        """Yield questions."""
        content = self.read_json(self.ann_file)
        if isinstance(content, dict):
            content = [dict(raw, question_id=name, image=(
                f'{raw["imageId"]}.jpg' if 'imageId' in raw else None))
                for name, raw in content.items()]
        for raw in content:
            if not self.take(raw, faults, 'question_id', 'image', 'question',
                             'answer'):
                continue
            kind = (raw.get('types') or {}).get('structural', 'none')
            yield dict(
                question_id=raw['question_id'],
                image_id=raw['image'],
                img_path=self.image(raw['image']),
                question=raw['question'],
                question_type=kind,
                gt_answer=raw['answer'])


@DATASETS.register_module()
class TextVQAQuestions(BenchmarkDataset):
    """TextVQA: questions about text in images, ten answers each."""

    download = ('https://textvqa.org/dataset (TextVQA_0.5.1_val.json, '
                'train_val_images.zip)')
    layout = """
      data/textvqa/TextVQA_0.5.1_val.json
      data/textvqa/train_images/*.jpg"""

    def read_items(self, faults: Faults) -> Iterator[dict]:
        """Yield questions."""
        for raw in self.read_json(self.ann_file, 'data')['data']:
            if not self.take(raw, faults, 'question_id', 'image_id',
                             'question'):
                continue
            item = dict(
                question_id=raw['question_id'],
                image_id=raw['image_id'],
                img_path=self.image(f'{raw["image_id"]}.jpg'),
                question=raw['question'])
            if raw.get('answers'):
                item['gt_answer'] = list(raw['answers'])
            yield item


@DATASETS.register_module()
class VizWizQuestions(BenchmarkDataset):
    """VizWiz: questions of blind people, ten answers each.

    The toolbox's reader leaves out what cannot be answered and all answers
    that are not sure; the benchmark's scorer counts them.
    """

    download = ('https://vizwiz.org/tasks-and-datasets/vqa '
                '(Annotations.zip, val.zip)')
    layout = """
      data/vizwiz/Annotations/val.json
      data/vizwiz/val/VizWiz_val_*.jpg"""

    def read_items(self, faults: Faults) -> Iterator[dict]:
        """Yield questions, told apart by their images."""
        for raw in self.read_json(self.ann_file):
            if not self.take(raw, faults, 'image', 'question'):
                continue
            item = dict(
                question_id=raw['image'],
                image_id=raw['image'],
                img_path=self.image(raw['image']),
                question=raw['question'],
                answer_type=raw.get('answer_type', 'none'))
            if raw.get('answers'):
                item['gt_answer'] = [a['answer'] for a in raw['answers']]
            yield item


@DATASETS.register_module()
class MMVetQuestions(BenchmarkDataset):
    """MM-Vet: open questions that GPT-4 judges elsewhere."""

    download = 'mm-vet.zip, see https://github.com/yuweihao/MM-Vet'
    layout = """
      data/mm-vet/mm-vet.json
      data/mm-vet/images/v1_*.png"""

    def read_items(self, faults: Faults) -> Iterator[dict]:
        """Yield questions."""
        for name, raw in self.read_json(self.ann_file).items():
            if self.take(raw, faults, 'imagename', 'question'):
                yield dict(
                    question_id=name,
                    image_id=raw['imagename'],
                    img_path=self.image(raw['imagename']),
                    question=raw['question'],
                    gt_answer=str(raw.get('answer', '')),
                    capability='_'.join(raw.get('capability', ['none'])))
