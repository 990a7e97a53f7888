# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Multiple choice: MMBench, SEED-Bench, ScienceQA, A-OKVQA, IconQA."""

import base64
import binascii
import csv
import os
from collections.abc import Iterator, Sequence

from ...errors import DatasetError
from ...registry import DATASETS
from ...utils.faults import Faults
from .base import BenchmarkDataset

LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ'
TEMPLATE = ('{hint}{question}\n{options}\nAnswer with the letter of the '
            'right option.')
ROTATED = 1_000_000
# A tsv line of MMBench holds an image.
csv.field_size_limit(1 << 28)


class ChoiceDataset(BenchmarkDataset):
    """Questions with options.

    An item has ``question``, ``choices``, ``candidates`` (the same, for a
    head that scores them), ``gt_answer`` (an index) and ``prompt``: the
    template filled in.

    Args:
        template: With ``{question}`` and, where they are shown,
            ``{options}`` (``A. text``, one a line) and ``{hint}`` (followed
            by a line break; empty without one).
        circular: Ask each question once for each rotation of its options,
            as MMBench does. Items then have ``rotation``.
        kwargs: As of :class:`~.base.BenchmarkDataset`.
    """

    def __init__(self, template: str = TEMPLATE, circular: bool = False,
                 **kwargs) -> None:
        if '{question}' not in template:
            raise DatasetError('template must hold {question}; it is '
                               f'{template!r}.')
        self.template = template
        self.circular = circular
        super().__init__(**kwargs)

    def turns(self, item: dict, choices: Sequence[str], answer: int | None,
              hint: str | None = None) -> Iterator[dict]:
        """An item for each rotation, or the one as it is."""
        choices = [str(choice) for choice in choices]
        for turn in range(len(choices) if self.circular else 1):
            turned = [*choices[turn:], *choices[:turn]]
            options = '\n'.join(f'{letter}. {text}' for letter, text in zip(
                LETTERS, turned, strict=False))
            found = dict(
                item,
                choices=turned,
                candidates=turned,
                prompt=self.template.format(
                    question=item['question'],
                    options=options,
                    hint=f'{hint}\n' if hint else ''))
            if answer is not None:
                found['gt_answer'] = (answer - turn) % len(choices)
            if self.circular:
                found['rotation'] = turn
            yield found


@DATASETS.register_module()
class MMBench(ChoiceDataset):
    """MMBench's tsv, which holds the images too.

    Some of its files hold the rotations already, numbered a million apart;
    they are left out, since ``circular`` gives the same.

    Without answers (the test split) items have no ``gt_answer``; write them
    by ``DumpPredictions(form='tsv')``.
    """

    download = ('mmbench_dev_20230712.tsv (or a later one), see '
                'https://github.com/open-compass/MMBench')
    layout = """
      data/mmbench/mmbench_dev_20230712.tsv"""

    def read_items(self, faults: Faults) -> Iterator[dict]:
        """Yield questions; images are kept aside."""
        self.images: dict[str, str] = {}
        self.require(self.ann_file)
        with open(self.ann_file, encoding='utf-8', newline='') as file:
            reader = csv.DictReader(file, delimiter='\t')
            for column in ('index', 'question', 'image', 'A', 'B'):
                if column not in (reader.fieldnames or []):
                    raise DatasetError(
                        f'{self.ann_file} has no column {column!r}; it is '
                        f'another file. {self._fix()}')
            for raw in reader:
                if raw['index'].isdigit() and int(raw['index']) >= ROTATED:
                    continue
                yield from self._question(raw, faults)

    def _question(self, raw: dict, faults: Faults) -> Iterator[dict]:
        name = raw['index']
        image = raw['image'] or ''
        # A short image is the index of the question that has it.
        if image.isdigit() and len(image) < 64:
            key = image
        else:
            key = name
            try:
                base64.b64decode(image, validate=True)
            except (binascii.Error, ValueError):
                image = ''
            if image:
                self.images[name] = image
        if key not in self.images:
            faults.add('missing images', name)
            return
        choices = []
        for letter in LETTERS[:5]:
            text = raw.get(letter)
            if text is None or text in ('', 'nan'):
                break
            choices.append(text)
        answer = raw.get('answer') or None
        if len(choices) < 2 or answer not in (
                None, *LETTERS[:len(choices)]):
            faults.add('questions without options or with an answer that is '
                       'none of them', name)
            return
        hint = raw.get('hint')
        yield from self.turns(
            dict(
                question_id=name,
                image_id=key,
                question=raw['question'],
                category=raw.get('category') or 'none',
                l2_category=raw.get('l2-category') or 'none'), choices,
            None if answer is None else LETTERS.index(answer),
            None if hint in (None, '', 'nan') else hint)

    def get_data_info(self, idx: int) -> dict:
        """Add the image's bytes to an item."""
        item = super().get_data_info(idx)
        item['img'] = base64.b64decode(self.images[item['image_id']])
        return item


@DATASETS.register_module()
class SEEDBench(ChoiceDataset):
    """SEED-Bench's questions about images (nine of its twelve types)."""

    download = ('SEED-Bench.json and SEED-Bench-image.zip from '
                'https://huggingface.co/datasets/AILab-CVPR/SEED-Bench')
    layout = """
      data/seed-bench/SEED-Bench.json
      data/seed-bench/SEED-Bench-image/*"""

    def read_items(self, faults: Faults) -> Iterator[dict]:
        """Yield questions."""
        content = self.read_json(self.ann_file, 'questions')
        names = {number: name.replace(' ', '_') for name, number in
                 content.get('question_type', {}).items()}
        for raw in content['questions']:
            if raw.get('data_type', 'image') != 'image' or not self.take(
                    raw, faults, 'question_id', 'data_id', 'question',
                    'answer', 'choice_a', 'choice_b', 'choice_c',
                    'choice_d'):
                continue
            if raw['answer'] not in tuple('ABCD'):
                faults.add('answers other than A to D', raw['question_id'])
                continue
            kind = raw.get('question_type_id')
            yield from self.turns(
                dict(
                    question_id=raw['question_id'],
                    image_id=raw['data_id'],
                    img_path=self.image(raw['data_id']),
                    question=raw['question'],
                    category=names.get(kind, str(kind))),
                [raw[f'choice_{x}'] for x in 'abcd'],
                'ABCD'.index(raw['answer']))


@DATASETS.register_module()
class ScienceQAImages(ChoiceDataset):
    """ScienceQA's questions that have an image (ScienceQA-IMG).

    Args:
        split: ``test`` or ``val``.
        split_file: The file of splits.
        kwargs: As of :class:`ChoiceDataset`.
    """

    download = ('https://github.com/lupantech/ScienceQA '
                '(problems.json, pid_splits.json, test.zip)')
    layout = """
      data/scienceqa/problems.json, data/scienceqa/pid_splits.json
      data/scienceqa/images/test/<id>/image.png"""

    def __init__(self, split: str = 'test',
                 split_file: str = 'pid_splits.json', **kwargs) -> None:
        self.split = split
        self.split_file = split_file
        super().__init__(**kwargs)

    def read_items(self, faults: Faults) -> Iterator[dict]:
        """Yield questions."""
        problems = self.read_json(self.ann_file)
        splits = self.read_json(self.path(self.split_file), self.split)
        for name in splits[self.split]:
            raw = problems.get(name)
            if raw is None:
                faults.add('ids of the split without a question', name)
                continue
            if raw.get('image') is None or not self.take(
                    dict(raw, id=name), faults, 'question', 'choices',
                    'answer'):
                continue
            if not 0 <= raw['answer'] < len(raw['choices']):
                faults.add('answers that are no option', name)
                continue
            yield from self.turns(
                dict(
                    question_id=name,
                    image_id=name,
                    img_path=self.image(os.path.join(name, raw['image'])),
                    question=raw['question'],
                    subject=raw.get('subject', 'none').replace(' ', '_'),
                    grade=raw.get('grade', 'none')), raw['choices'],
                raw['answer'], raw.get('hint'))


@DATASETS.register_module()
class AOKVQA(ChoiceDataset):
    """A-OKVQA, by choice or by direct answers.

    Args:
        direct: Ask without options; ``gt_answer`` is then ten people's
            answers, and the questions that the benchmark calls too
            difficult for that are left out, as by its scorer.
        image_name: An image's file name, with ``{image_id}``.
        kwargs: As of :class:`ChoiceDataset`.
    """

    download = ('https://allenai.org/project/a-okvqa/home '
                '(aokvqa_v1p0.tar.gz); images: val2017.zip from '
                'https://cocodataset.org')
    layout = """
      data/aokvqa/aokvqa_v1p0_val.json
      data/coco/val2017/000000*.jpg"""

    def __init__(self, direct: bool = False,
                 image_name: str = '{image_id:012d}.jpg', **kwargs) -> None:
        self.direct = direct
        self.image_name = image_name
        super().__init__(**kwargs)

    def read_items(self, faults: Faults) -> Iterator[dict]:
        """Yield questions."""
        for raw in self.read_json(self.ann_file):
            needs = (('direct_answers', ) if self.direct else
                     ('choices', 'correct_choice_idx'))
            if not self.take(raw, faults, 'question_id', 'image_id',
                             'question', *needs):
                continue
            item = dict(
                question_id=raw['question_id'],
                image_id=raw['image_id'],
                img_path=self.image(
                    self.image_name.format(image_id=raw['image_id'])),
                question=raw['question'])
            if not self.direct:
                yield from self.turns(item, raw['choices'],
                                      raw['correct_choice_idx'])
            elif not raw.get('difficult_direct_answer'):
                yield dict(item, gt_answer=raw['direct_answers'])


@DATASETS.register_module()
class IconQAChoices(ChoiceDataset):
    """IconQA's questions with options in text, a folder for each."""

    download = ('iconqa_data.zip, see https://iconqa.github.io')
    layout = """
      data/iconqa/test/choose_txt/<id>/data.json
      data/iconqa/test/choose_txt/<id>/image.png"""

    def read_items(self, faults: Faults) -> Iterator[dict]:
        """Yield questions."""
        folder = self.require(self.data_prefix['img_path'], folder=True)
        names = [name for name in os.listdir(folder)
                 if os.path.isdir(os.path.join(folder, name))]
        # By number: the order of a listing differs between file systems.
        for name in sorted(names, key=lambda n: (len(n), n)):
            path = self.image(os.path.join(name, 'data.json'))
            if not os.path.isfile(path):
                faults.add('folders without data.json', name)
                continue
            raw = dict(self.read_json(path), id=name)
            if not self.take(raw, faults, 'question', 'choices', 'answer'):
                continue
            answer = int(raw['answer'])
            if not 0 <= answer < len(raw['choices']):
                faults.add('answers that are no option', name)
                continue
            yield from self.turns(
                dict(
                    question_id=name,
                    image_id=name,
                    img_path=self.image(os.path.join(name, 'image.png')),
                    question=raw['question'],
                    grade=raw.get('grade', 'none')), raw['choices'], answer)
