# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Training texts of the language model: notes, then what follows of them.

A base document goes on after the notes as web text would: a caption, a
description, questions and answers, in any order, each on a line. A chat
document is a conversation in the template that MiniGPT-4 uses, with notes
where the image will be.
"""

import random
from dataclasses import dataclass

from mmpretrain_minigpt4.datasets.shapes import draw_scene
from mmpretrain_minigpt4.prompts import STAGE2_INSTRUCTIONS

from .notes import Encode, Slots, write_notes

CAPTION_INSTRUCTIONS = (
    'Write a short caption.',
    'Give this image a short caption.',
    'Describe this image briefly.',
)
BOS = 1
IGNORE = -100


@dataclass
class Document:
    """A training text.

    Attributes:
        slots: For each position the tokens whose embeddings are summed.
        labels: For each position its own token, or -100 where no loss is.
        notes: The positions of the notes, ``(first, last + 1)``.
    """

    slots: Slots
    labels: list[int]
    notes: tuple[int, int] = (0, 0)

    def add(self, tokens: list[int], *, learn: bool) -> None:
        """Append text, with or without loss on it."""
        self.slots += [[t] for t in tokens]
        self.labels += tokens if learn else [IGNORE] * len(tokens)

    def add_notes(self, slots: Slots) -> None:
        """Append notes; what stands in them is given, not learnt."""
        start = len(self.slots)
        self.slots += slots
        self.labels += [IGNORE] * len(slots)
        self.notes = (start, len(self.slots))


def begin() -> Document:
    """A document that holds the begin sign only."""
    return Document([[BOS]], [IGNORE])


def continue_base(document: Document, scene, rng: random.Random,
                  encode: Encode, *, lines: int = 5) -> Document:
    """Append a description, questions and maybe a caption, a line each."""
    texts = [scene.description]
    if rng.random() < 0.5:
        texts.append(scene.caption)
    questions = [f'{q} {a}' for q, a in scene.qa]
    texts += rng.sample(questions, min(len(questions), lines - len(texts)))
    rng.shuffle(texts)
    for text in texts:
        document.add(encode(text + '\n'), learn=True)
    return document


def sample_turns(scene, rng: random.Random) -> list[tuple[str, str]]:
    """Up to three requests about a scene, with their answers."""
    pool = [(rng.choice(STAGE2_INSTRUCTIONS), scene.description),
            (rng.choice(CAPTION_INSTRUCTIONS), scene.caption)]
    weights = [0.42, 0.08]
    kind = rng.random()
    turns = [pool[0] if kind < weights[0] else
             pool[1] if kind < sum(weights) else rng.choice(scene.qa)]
    turns += rng.sample(list(scene.qa), rng.choice((1, 2, 3)))
    return list(dict.fromkeys(turns))


def continue_chat(document: Document, turns: list[tuple[str, str]],
                  encode: Encode) -> Document:
    """Append what follows the image: the request and answer of each turn."""
    opening = '</Img> '
    for request, answer in turns:
        document.add(encode(f'{opening}{request} ###Assistant: '), learn=False)
        document.add(encode(f'{answer}###'), learn=True)
        opening = 'Human: '
    return document


def base_document(seed: int, encode: Encode) -> Document:
    """Notes of a scene and what web text would say after them."""
    rng = random.Random(f'base {seed}')
    scene = draw_scene(seed)
    document = begin()
    document.add_notes(
        write_notes(scene.objects, scene.background, rng, encode))
    return continue_base(document, scene, rng, encode)


def chat_document(seed: int, encode: Encode) -> Document:
    """A conversation with notes in the place of the image."""
    rng = random.Random(f'chat {seed}')
    scene = draw_scene(seed)
    document = begin()
    document.add(encode('###Human: <Img>'), learn=False)
    document.add_notes(
        write_notes(scene.objects, scene.background, rng, encode))
    return continue_chat(document, sample_turns(scene, rng), encode)
