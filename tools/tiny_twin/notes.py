# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""What the language model reads instead of an image: notes of a scene.

The language model never sees a picture. It learns to read notes in many
forms, as text of the web describes one thing in many ways, so that later
one linear layer can write notes that it understands.

A note is a list of *slots*; a slot is a list of token ids whose embeddings
are summed. In plain text every slot holds one token. In a *merged* note the
words of one object share few slots: that is as compact as visual tokens are.
"""

import random
from collections.abc import Callable, Sequence
from itertools import pairwise

from mmpretrain_minigpt4.datasets.shapes.scene import SceneObject
from mmpretrain_minigpt4.datasets.shapes.words import NUMBERS, PLACES

Encode = Callable[[str], list[int]]
Slots = list[list[int]]


def _phrases(objects: Sequence[SceneObject], background: str,
             rng: random.Random) -> tuple[list[str], str]:
    """One phrase for each fact of the scene, in one of several formats."""
    style = rng.randrange(5)
    if style == 0:
        facts = [f'{o.size} {o.color} {o.shape} {o.place}' for o in objects]
        ground = f'{background} background'
    elif style == 1:
        facts = [f'{o.place}: {o.color} {o.shape} {o.size}' for o in objects]
        ground = f'background: {background}'
    elif style == 2:
        facts = [
            f'shape={o.shape} color={o.color} size={o.size} place={o.place}'
            for o in objects
        ]
        ground = f'background={background}'
    elif style == 3:
        facts = []
        for o in objects:
            words = [o.size, o.color, o.shape, o.place]
            rng.shuffle(words)
            facts.append(' '.join(words))
        ground = background
    else:  # every place is told, empty ones too
        at = {o.place: f'{o.size} {o.color} {o.shape}' for o in objects}
        facts = [f'{place} {at.get(place, "nothing")}' for place in PLACES]
        ground = f'background {background}'
    facts.append(ground)
    if rng.random() < 0.3:
        facts.append(f'{NUMBERS[len(objects)]} shapes')
    rng.shuffle(facts)
    return facts, rng.choice(['; ', ', ', '. ', ' '])


def plain_notes(objects: Sequence[SceneObject], background: str,
                rng: random.Random, encode: Encode) -> Slots:
    """Notes as a line of text, one token a slot."""
    facts, separator = _phrases(objects, background, rng)
    return [[token] for token in encode(separator.join(facts))]


def merged_notes(objects: Sequence[SceneObject], background: str,
                 rng: random.Random, encode: Encode) -> Slots:
    """Notes in which the words of one object share a few slots.

    Each of an object's slots names its place, so that slots can come in any
    order, as visual tokens do.
    """
    at = {o.place: [o.size, o.color, o.shape] for o in objects}
    facts = [[background, 'background']]
    for place in PLACES:
        if place not in at:
            if rng.random() < 0.3:
                facts.append(['nothing', place])
            continue
        words = rng.sample(at[place], 3)
        cuts = rng.choice(([], [], [1], [2], [1, 2]))
        facts += [[*words[start:stop], place]
                  for start, stop in pairwise([0, *cuts, 3])]
    if rng.random() < 0.3:
        facts.append([NUMBERS[len(objects)], 'shapes'])
    slots = [[t for word in words for t in encode(word)] for words in facts]
    # A fact told twice, and slots that say nothing, as visual tokens do.
    slots += rng.sample(slots, rng.randrange(min(4, len(slots) + 1)))
    slots += [[] for _ in range(rng.randrange(6))]
    rng.shuffle(slots)
    return slots


def write_notes(objects: Sequence[SceneObject], background: str,
                rng: random.Random, encode: Encode) -> Slots:
    """Notes of a scene in a random form."""
    form = merged_notes if rng.random() < 0.75 else plain_notes
    return form(objects, background, rng, encode)
