# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The shapes world as a data set of the toolbox."""

import random
from typing import Any

from mmengine.dataset import BaseDataset

from ...errors import DatasetError
from ...prompts import STAGE2_INSTRUCTIONS
from ...registry import DATASETS
from .scene import TEST_SEED, draw_scene

CONTENTS = ('caption', 'description', 'question', 'both', 'conversation')


@DATASETS.register_module()
class ShapesDataset(BaseDataset):
    """Drawn scenes, made from seeds as they are asked for.

    Every item has ``img`` (PIL image), ``image_id`` (the seed), ``objects``
    (a list of color, shape, size, place) and ``background``; besides, by
    ``content``:

    * ``caption``: ``gt_caption``, the short line (the first stage);
    * ``description``: ``gt_caption``, the whole sentences;
    * ``question``: ``question``, ``question_id``, ``gt_answer``;
    * ``both``: an item as of ``description`` for each scene, and then its
      items as of ``question``;
    * ``conversation``: ``prompt`` and ``gt_caption``, one of the four
      instructions of the second stage with the description, or, for a share
      of the scenes, a question with its answer.

    Args:
        first_seed: Seed of the first scene.
        num_scenes: How many scenes.
        content: See above.
        questions_per_scene: With ``content`` ``question`` or ``both``, how
            many of a scene's questions are asked.
        question_share: With ``content='conversation'``, the share of scenes
            that give a question.
        test_mode: Test scenes have seeds from
            :data:`~.scene.TEST_SEED` on, training scenes below it: anything
            else is refused.
        pipeline: The transforms.

    Raises:
        DatasetError: If the seeds are on the wrong side of that line, or
            an argument is out of range.
    """

    METAINFO = {'dataset_type': 'shapes'}

    def __init__(self,
                 first_seed: int,
                 num_scenes: int,
                 content: str = 'description',
                 questions_per_scene: int = 2,
                 question_share: float = 0.5,
                 test_mode: bool = False,
                 pipeline: list = (),
                 **kwargs: Any) -> None:
        if content not in CONTENTS:
            raise DatasetError(f'content must be one of {CONTENTS}, '
                               f'got {content!r}.')
        if num_scenes < 1 or first_seed < 0:
            raise DatasetError(
                'A shapes data set needs num_scenes >= 1 and first_seed >= 0,'
                f' got {num_scenes} and {first_seed}.')
        if (first_seed >= TEST_SEED) != test_mode or (
                not test_mode and first_seed + num_scenes > TEST_SEED):
            raise DatasetError(
                f'Seeds {first_seed} to {first_seed + num_scenes - 1} are '
                f'not for {"tests" if test_mode else "training"}: test '
                f'scenes start at {TEST_SEED} and are never trained on.')
        if questions_per_scene < 1:
            raise DatasetError('questions_per_scene must be at least 1, got '
                               f'{questions_per_scene}.')
        self.first_seed = first_seed
        self.num_scenes = num_scenes
        self.content = content
        self.question_share = question_share
        # Every scene has at least seven questions.
        questions = range(min(questions_per_scene, 7))
        self.numbers: list[int | None] = {
            'question': [*questions],
            'both': [None, *questions],
        }.get(content, [None])
        super().__init__(
            serialize_data=False,
            test_mode=test_mode,
            pipeline=list(pipeline),
            **kwargs)

    def load_data_list(self) -> list[dict]:
        """One seed and question number (or None) for each item."""
        return [
            dict(seed=self.first_seed + scene, number=number)
            for scene in range(self.num_scenes)
            for number in self.numbers
        ]

    def get_data_info(self, idx: int) -> dict[str, Any]:
        """Draw the scene of an item and add what is asked of it."""
        entry = super().get_data_info(idx)
        scene = draw_scene(entry['seed'])
        info = dict(
            img=scene.image,
            sample_idx=entry['sample_idx'],
            image_id=scene.seed,
            objects=[(o.color, o.shape, o.size, o.place)
                     for o in scene.objects],
            background=scene.background)
        if entry['number'] is not None:
            question, answer = scene.qa[entry['number']]
            info.update(
                question=question,
                gt_answer=answer,
                question_id=f'{scene.seed}-{entry["number"]}')
        elif self.content == 'conversation':
            rng = random.Random(f'conversation {scene.seed}')
            if rng.random() < self.question_share:
                prompt, answer = rng.choice(scene.qa)
            else:
                prompt = rng.choice(STAGE2_INSTRUCTIONS)
                answer = scene.description
            info.update(prompt=prompt, gt_caption=answer)
        elif self.content == 'caption':
            info['gt_caption'] = scene.caption
        else:
            info['gt_caption'] = scene.description
        return info
