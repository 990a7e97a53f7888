# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Questions with yes and no for an answer: POPE, MME, VSR, hateful memes."""

import os
from collections.abc import Iterator, Sequence

from ...errors import DatasetError
from ...registry import DATASETS
from ...utils.faults import Faults
from .base import BenchmarkDataset

MME_TASKS = ('existence', 'count', 'position', 'color', 'posters',
             'celebrity', 'scene', 'landmark', 'artwork', 'OCR',
             'commonsense_reasoning', 'numerical_calculation',
             'text_translation', 'code_reasoning')
IMAGES = ('.jpg', '.jpeg', '.png')


@DATASETS.register_module()
class POPEQuestions(BenchmarkDataset):
    """POPE: "Is there a ... in the image?", one JSON dict a line."""

    download = ('output/coco/coco_pope_{random,popular,adversarial}.json of '
                'https://github.com/RUCAIBox/POPE; images: val2014.zip from '
                'https://cocodataset.org')
    layout = """
      data/pope/coco_pope_random.json (and popular, adversarial)
      data/coco/val2014/COCO_val2014_*.jpg"""

    def read_items(self, faults: Faults) -> Iterator[dict]:
        """Yield questions."""
        for raw in self.read_json_lines(self.ann_file, faults):
            if not self.take(raw, faults, 'question_id', 'image', 'text',
                             'label'):
                continue
            if raw['label'] not in ('yes', 'no'):
                faults.add('labels other than yes and no',
                           raw['question_id'])
                continue
            yield dict(
                question_id=raw['question_id'],
                image_id=raw['image'],
                img_path=self.image(raw['image']),
                question=raw['text'],
                gt_answer=raw['label'])


@DATASETS.register_module()
class MMEQuestions(BenchmarkDataset):
    """MME: a folder for each task, a text file beside each image.

    Each text file has two lines, question and answer parted by a tab.
    Images and texts lie together, or in ``images`` and
    ``questions_answers_YN``.

    Args:
        tasks: Some of :data:`MME_TASKS`; all by default.
        kwargs: As of :class:`~.base.BenchmarkDataset`; ``data_prefix`` is
            the folder of tasks.
    """

    download = ('MME_Benchmark_release_version.zip, see '
                'https://github.com/BradyFU/Awesome-Multimodal-Large-'
                'Language-Models/tree/Evaluation')
    layout = """
      data/mme/MME_Benchmark_release_version/existence/000000006040.{jpg,txt}
      data/mme/MME_Benchmark_release_version/artwork/images/*.jpg
      data/mme/MME_Benchmark_release_version/artwork/questions_answers_YN/*.txt
      ... (14 tasks)"""

    def __init__(self, tasks: Sequence[str] = MME_TASKS, **kwargs) -> None:
        for task in tasks:
            if task not in MME_TASKS:
                raise DatasetError(f'MME has no task {task!r}; it has '
                                   f'{", ".join(MME_TASKS)}.')
        self.tasks = tuple(tasks)
        super().__init__(**kwargs)

    def read_items(self, faults: Faults) -> Iterator[dict]:
        """Yield two questions for each image."""
        for task in self.tasks:
            folder = self.require(self.image(task), folder=True)
            images = texts = folder
            if os.path.isdir(os.path.join(folder, 'images')):
                images = os.path.join(folder, 'images')
                texts = self.require(
                    os.path.join(folder, 'questions_answers_YN'), True)
            for name in sorted(os.listdir(images)):
                stem, ending = os.path.splitext(name)
                if ending.lower() in IMAGES:
                    yield from self._pair(
                        task, os.path.join(images, name),
                        os.path.join(texts, stem + '.txt'), faults)

    def _pair(self, task: str, image: str, text: str, faults: Faults
              ) -> Iterator[dict]:
        name = f'{task}/{os.path.basename(image)}'
        if not os.path.isfile(text):
            faults.add('images without questions', name)
            return
        with open(text, encoding='utf-8-sig') as file:
            lines = [line.strip() for line in file if line.strip()]
        pairs = [line.rsplit('\t', 1) for line in lines]
        if len(pairs) != 2 or any(
                len(pair) != 2 or pair[1].strip().lower() not in ('yes', 'no')
                for pair in pairs):
            faults.add('texts that are not two questions with Yes or No',
                       name)
            return
        for number, (question, answer) in enumerate(pairs):
            yield dict(
                question_id=f'{name}/{number}',
                image_id=name,
                img_path=image,
                task=task,
                question=question.strip(),
                gt_answer=answer.strip().lower())


@DATASETS.register_module()
class VSRStatements(BenchmarkDataset):
    """VSR: is a statement on where things are true? One JSON dict a line.

    The toolbox's reader wants a file that the benchmark does not have; this
    reads the benchmark's own.
    """

    download = ('data/splits/{random,zeroshot}/test.jsonl of '
                'https://github.com/cambridgeltl/visual-spatial-reasoning; '
                'images: train2017.zip and val2017.zip from '
                'https://cocodataset.org, all in one folder')
    layout = """
      data/vsr/zeroshot/test.jsonl
      data/vsr/images/000000*.jpg"""

    def read_items(self, faults: Faults) -> Iterator[dict]:
        """Yield statements as questions."""
        for number, raw in enumerate(
                self.read_json_lines(self.ann_file, faults)):
            if not self.take(raw, faults, 'image', 'caption', 'label'):
                continue
            if raw['label'] not in (0, 1):
                faults.add('labels other than 0 and 1', number)
                continue
            yield dict(
                question_id=number,
                image_id=raw['image'],
                img_path=self.image(raw['image']),
                question=raw['caption'],
                relation=raw.get('relation', 'none'),
                gt_answer='yes' if raw['label'] else 'no')


@DATASETS.register_module()
class HatefulMemes(BenchmarkDataset):
    """Hateful memes: is a meme, image and text together, hateful?

    The text written on the image is part of the data and goes into the
    question.

    Args:
        template: The question; ``{text}`` is the text on the image.
        kwargs: As of :class:`~.base.BenchmarkDataset`.
    """

    download = ('the Hateful Memes data set (by its form at '
                'https://hatefulmemeschallenge.com)')
    layout = """
      data/hateful_memes/dev_seen.jsonl
      data/hateful_memes/img/*.png"""

    def __init__(self,
                 template: str = 'This is an image with "{text}" written on '
                 'it. Is it hateful? Please answer yes or no.',
                 **kwargs) -> None:
        if '{text}' not in template:
            raise DatasetError('template must hold {text}, where the text on '
                               f'the image goes; it is {template!r}.')
        self.template = template
        super().__init__(**kwargs)

    def read_items(self, faults: Faults) -> Iterator[dict]:
        """Yield memes as questions."""
        for raw in self.read_json_lines(self.ann_file, faults):
            if not self.take(raw, faults, 'id', 'img', 'text', 'label'):
                continue
            if raw['label'] not in (0, 1):
                faults.add('labels other than 0 and 1', raw['id'])
                continue
            yield dict(
                question_id=raw['id'],
                image_id=raw['id'],
                img_path=self.image(raw['img']),
                question=self.template.replace('{text}', raw['text']),
                candidates=['yes', 'no'],
                gt_answer='yes' if raw['label'] else 'no')
