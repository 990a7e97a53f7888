# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Write true texts about a scene, and read a description back."""

import random
import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from .words import BACKGROUNDS, COLORS, NUMBERS, PLACES, SHAPES, SIZES

if TYPE_CHECKING:
    from .scene import SceneObject

Objects: TypeAlias = 'Sequence[SceneObject]'



def article(phrase: str) -> str:
    """Put "a" or "an" before a phrase."""
    return f'{"an" if phrase[0] in "aeiou" else "a"} {phrase}'


def _join(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else (', '.join(parts[:-1]) +
                                             f' and {parts[-1]}')


def write_caption(objects: Objects, background: str,
                  rng: random.Random) -> str:
    """One short line in the manner of alternative texts on the web."""
    names = [f'{o.color} {o.shape}' for o in objects]
    rng.shuffle(names)
    style = rng.randrange(7)
    if style == 0:
        return _join(names)
    if style == 1:
        return _join([article(n) for n in names]) + f' on {background}'
    if style == 2:
        some = rng.choice(objects)
        return f'{some.size} {some.color} {some.shape} {some.place}'
    if style == 3:
        plural = 'shape' if len(objects) == 1 else 'shapes'
        return f'{NUMBERS[len(objects)]} {plural} on {background} background'
    if style == 4:
        return 'picture of ' + _join([article(n) for n in names])
    if style == 5:
        return _join([
            f'{o.size} {o.color} {o.shape}'
            for o in rng.sample(list(objects), len(objects))
        ])
    return _join([f'{o.shape} {o.place}' for o in objects])


def write_description(objects: Objects, background: str,
                      rng: random.Random) -> str:
    """Whole sentences on every object, in reading order, and background."""
    plural = 'shape' if len(objects) == 1 else 'shapes'
    verb = rng.choice(('shows', 'shows', 'has'))
    sentences = [f'The image {verb} {NUMBERS[len(objects)]} {plural}.']
    for o in objects:
        what = article(f'{o.size} {o.color} {o.shape}')
        sentences.append(f'In the {o.place} there is {what}.')
    sentences.append(f'The background is {background}.')
    return ' '.join(sentences)


def write_qa(objects: Objects, background: str,
             rng: random.Random) -> tuple[tuple[str, str], ...]:
    """Questions with one right answer each, two of most kinds.

    The kind is told by how a question begins: see :func:`question_kind`.
    """
    pairs = []
    by_place = {o.place: o for o in objects}
    for place in rng.sample(list(PLACES), 2):  # what
        o = by_place.get(place)
        pairs.append((f'What is in the {place}?',
                      f'{article(f"{o.size} {o.color} {o.shape}")}.'.
                      capitalize() if o else 'Nothing.'))
    names = Counter((o.color, o.shape) for o in objects)
    shapes = Counter(o.shape for o in objects)
    colors = Counter(o.color for o in objects)
    unique = [o for o in objects if names[o.color, o.shape] == 1]
    if unique:  # where
        o = rng.choice(unique)
        pairs.append((f'Where is the {o.color} {o.shape}?',
                      f'In the {o.place}.'))
    pairs.append(('How many shapes are there?',
                  f'{NUMBERS[len(objects)].capitalize()}.'))
    shape = rng.choice([rng.choice(SHAPES), rng.choice(objects).shape])
    plural = 'crosses' if shape == 'cross' else f'{shape}s'
    pairs.append((f'How many {plural} are there?',
                  f'{NUMBERS[shapes[shape]].capitalize()}.'
                  if shapes[shape] else 'None.'))
    single = [o for o in objects if shapes[o.shape] == 1]
    if single:  # color
        o = rng.choice(single)
        pairs.append((f'What color is the {o.shape}?',
                      f'{o.color.capitalize()}.'))
    single = [o for o in objects if colors[o.color] == 1]
    if single:
        o = rng.choice(single)
        pairs.append((f'What shape is {o.color}?',
                      f'The {o.shape}.'))
    pairs.append(('What color is the background?',
                  f'{background.capitalize()}.'))
    here = rng.choice(objects)
    pairs.append((f'Is there {article(f"{here.color} {here.shape}")}?',
                  'Yes.'))
    absent = [(c, s) for c in COLORS for s in SHAPES if (c, s) not in names]
    # Half of the absent ones share a colour or shape with what is there,
    # so that neither word alone gives the answer away.
    near = [(c, s) for c, s in absent if colors[c] or shapes[s]]
    color, shape = rng.choice(near if rng.random() < 0.5 else absent)
    pairs.append((f'Is there {article(f"{color} {shape}")}?', 'No.'))
    rng.shuffle(pairs)
    return tuple(pairs)


def question_kind(question: str) -> str:
    """The kind of a question of :func:`write_qa`.

    Returns:
        One of ``what``, ``where``, ``how many``, ``color``, ``is there``,
        or ``other``.
    """
    for start, kind in (('What color', 'color'), ('What', 'what'),
                        ('Where', 'where'), ('How many', 'how many'),
                        ('Is there', 'is there')):
        if question.startswith(start):
            return kind
    return 'other'


_ITEM = re.compile(r'\b(?:(small|large) )?(?:(' + '|'.join(COLORS) +
                   r') )?(' + '|'.join(SHAPES) + r')\b')
_PLACE = re.compile('|'.join(PLACES))
_GROUND = re.compile(r'background is (' + '|'.join(BACKGROUNDS) + r')\b')


def read_description(
        text: str) -> tuple[list[tuple[str, str, str, str]], str]:
    """Read what a description claims, sentence by sentence.

    Args:
        text: Any text; sentences of another form claim nothing.

    Returns:
        A list of (color, shape, size, place), an empty string where a
        sentence leaves one out, and the background's name or ``''``.
    """
    found = []
    for sentence in re.split(r'[.\n]', text.lower()):
        place = _PLACE.search(sentence)
        for size, color, shape in _ITEM.findall(sentence):
            found.append((color, shape, size, place.group() if place else ''))
    ground = _GROUND.search(text.lower())
    return found, ground.group(1) if ground else ''


def is_failed(text: str) -> bool:
    """Whether a generated description is broken off, empty or repeats.

    A description counts as failed if it is empty, does not end with a full
    stop, is not made of whole sentences (each begins with a capital, has a
    verb and says something after it), or says a sentence twice.
    """
    text = text.strip()
    if not text.endswith('.'):
        return True
    sentences = [s.strip() for s in text[:-1].split('. ')]
    whole = re.compile(r'^[A-Z].* ((is|are) .*|(shows|has) \w+ .*)\w$')
    return (len(set(sentences)) < len(sentences)
            or not all(whole.match(s) for s in sentences))


assert set(SIZES) == {'small', 'large'}  # _ITEM spells them out
