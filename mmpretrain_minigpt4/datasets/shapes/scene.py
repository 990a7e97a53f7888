# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Sample a scene from a seed: what is where, and what can be said of it."""

import random
from dataclasses import dataclass, field
from functools import cached_property

from PIL import Image

from .words import BACKGROUNDS, COLORS, PLACES, SHAPES, SIZES

# Scenes from this seed on are for tests: no training data set draws them.
TEST_SEED = 1_000_000_000


@dataclass(frozen=True)
class SceneObject:
    """One shape of a scene, in the words that texts use for it."""

    color: str
    shape: str
    size: str
    place: str


@dataclass(frozen=True)
class Scene:
    """A scene: its picture, its facts and true texts about it.

    Attributes:
        seed: What it was drawn from; the same seed gives the same scene.
        objects: One to three, in reading order, at most one at each place.
        background: The name of the background's colour.
        caption: A short line, as alternative texts of the web have: it
            may leave out much.
        description: Whole sentences on every object and the background.
        qa: Question and answer pairs of the kinds what, where, how many,
            color and is there.
    """

    seed: int
    objects: tuple[SceneObject, ...]
    background: str
    caption: str
    description: str
    qa: tuple[tuple[str, str], ...]
    size: int = field(default=128, repr=False)

    @cached_property
    def image(self) -> Image.Image:
        """The picture, PIL RGB of ``size`` x ``size`` pixels."""
        from .drawing import draw
        return draw(self.objects, self.background, self.seed, self.size)


def sample_facts(seed: int) -> tuple[tuple[SceneObject, ...], str]:
    """Draw the objects and the background's name of a scene.

    Args:
        seed: Any non-negative integer.

    Returns:
        The objects in reading order, and the name of the background.
    """
    rng = random.Random(f'facts {seed}')
    count = rng.choice((1, 2, 2, 3, 3))
    places = rng.sample(list(PLACES), count)
    objects = tuple(
        SceneObject(rng.choice(list(COLORS)), rng.choice(SHAPES),
                    rng.choice(list(SIZES)), place) for place in PLACES
        if place in places)
    return objects, rng.choice(list(BACKGROUNDS))


def draw_scene(seed: int, *, size: int = 128) -> Scene:
    """Make the scene of a seed; the picture is drawn when first asked for.

    Args:
        seed: Non-negative. Below :data:`TEST_SEED` for training.
        size: Side of the picture, in pixels.

    Raises:
        ValueError: If ``seed`` is negative or ``size`` below 16.
    """
    from .language import write_caption, write_description, write_qa
    if seed < 0:
        raise ValueError(f'seed must not be negative, got {seed}.')
    if size < 16:
        raise ValueError(f'size must be at least 16 pixels, got {size}.')
    objects, background = sample_facts(seed)
    rng = random.Random(f'texts {seed}')
    return Scene(
        seed=seed,
        objects=objects,
        background=background,
        caption=write_caption(objects, background, rng),
        description=write_description(objects, background, rng),
        qa=write_qa(objects, background, rng),
        size=size)
