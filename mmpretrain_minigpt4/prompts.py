# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Prompts as lists of pieces: text, image slots and marks.

A prompt is never one string that is searched for placeholders: text that a
user typed is a ``str`` piece and stays text, whatever it contains; an image
is an :class:`ImageSlot`; begin and end of sequence are a :class:`Mark`. Only
:func:`parse`, for strings that a developer wrote, reads ``<ImageHere>``.

This module needs the standard library alone.
"""

from __future__ import annotations

import difflib
import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

from .errors import ConfigError, PromptError

IMAGE_OPEN, IMAGE_CLOSE, PLACEHOLDER = '<Img>', '</Img>', '<ImageHere>'
MAX_CHARS = 1_000_000
SYSTEM_TEXT = ('Give the following image: <Img>ImageContent</Img>. You will '
               'be able to see the image once I provide it to you. Please '
               'answer my questions.')
STAGE2_INSTRUCTIONS = (
    'Describe this image in detail.',
    'Take a look at this image and describe what you notice.',
    'Please provide a detailed description of the picture.',
    'Could you describe the contents of this image for me?',
)


@dataclass(frozen=True)
class ImageSlot:
    """The place of one image; slots are filled in order."""


@dataclass(frozen=True)
class TokenIds:
    """An answer in the very tokens that the model wrote.

    What was read and written need not be read again; the same text may have
    other tokens.
    """
    ids: tuple[int, ...]


class Mark(enum.Enum):
    """A token that no text can spell."""
    BOS = 'bos'
    EOS = 'eos'


Piece = str | ImageSlot | TokenIds | Mark
Turn = tuple[str, str | Sequence[Piece]]


@dataclass(frozen=True)
class Template:
    """How turns become one text.

    Args:
        prompt: A lone user turn as in training, ``{}`` stands for the user's
            pieces, for instance ``###Human: {} ###Assistant: ``.
        end: Text that ends each answer and is trained on.
        end_mark: Whether the end-of-sequence token ends each answer.
        user: A user turn inside a conversation; by default ``prompt`` up to
            its ``{}``.
        assistant: What opens an answer inside a conversation; by default
            what ``prompt`` holds after its ``{}``.
        system: The place of the system text.
        system_inside: Whether the system text stands inside the first user
            turn, rather than before it.
        stops: Texts that end generation; by default ``end``.
        needs_text: Whether a user turn must hold visible text.
        name: The name by which errors call it.
    """
    prompt: str
    end: str = ''
    end_mark: bool = False
    user: str | None = None
    assistant: str | None = None
    system: str = '{}'
    system_inside: bool = False
    stops: tuple[str, ...] | None = None
    needs_text: bool = True
    name: str = 'free'

    def __post_init__(self) -> None:
        for key in ('prompt', 'user', 'system'):
            value = getattr(self, key)
            if value is not None and value.count('{}') != 1:
                raise ConfigError(
                    f'The {key} of a prompt template must hold {{}} exactly '
                    f'once, where the text goes; it is {value!r}.')
        if not self.end and not self.end_mark:
            raise ConfigError(
                f'The prompt template {self.name!r} never ends an answer: '
                "give it end='###' (text) or end_mark=True (the "
                'end-of-sequence token).')
        head, tail = self.prompt.split('{}')
        values = dict(
            user=self.user if self.user is not None else head + '{}',
            assistant=tail if self.assistant is None else self.assistant,
            stops=tuple(self.stops) if self.stops is not None else
            ((self.end, ) if self.end else ()))
        for key, value in values.items():
            object.__setattr__(self, key, value)


TEMPLATES: Mapping[str, Template] = {
    # The bytes that the released projections were trained with; inside a
    # conversation the original demo puts no blank before ``###Assistant``.
    'vicuna_v0':
    Template(
        name='vicuna_v0',
        prompt='###Human: {} ###Assistant: ',
        assistant='###Assistant: ',
        end='###'),
    # For checkpoints trained with the toolbox's configs of 2023-10.
    'vicuna_v0_ask':
    Template(
        name='vicuna_v0_ask',
        prompt='###Ask: {} ###Answer: ',
        assistant='###Answer: ',
        end='###'),
    'llama2':
    Template(
        name='llama2',
        prompt='[INST] {} [/INST] ',
        end_mark=True,
        system='<<SYS>>\n{}\n<</SYS>>\n\n',
        system_inside=True),
    # Stage 1 trains on images and captions without any instruction.
    'bare':
    Template(name='bare', prompt='{}', end='\n', needs_text=False),
}
ALIASES = {'none': 'bare'}


def get_template(template: str | Mapping | Template) -> Template:
    """Find a template by name, or make one from a config dict.

    Raises:
        ConfigError: If there is no such template, or a key is unknown.
    """
    if isinstance(template, Template):
        return template
    if isinstance(template, str):
        name = ALIASES.get(template, template)
        if name not in TEMPLATES:
            raise ConfigError(
                f'There is no prompt template {template!r}'
                f'{_near(template, TEMPLATES)}. Known: '
                f'{", ".join(TEMPLATES)}; or give a dict.')
        return TEMPLATES[name]
    if not isinstance(template, Mapping) or 'prompt' not in template:
        raise ConfigError(
            'A prompt template is a name or a dict with at least `prompt` '
            f'and `end`, not {template!r}.')
    known = {field.name for field in fields(Template)}
    for key in template:
        if key not in known:
            raise ConfigError(f'A prompt template has no key {key!r}'
                              f'{_near(key, known)}.')
    return Template(**template)


def parse(text: str) -> list[Piece]:
    """Cut a developer's string at each ``<ImageHere>``.

    Never call it with text that a user typed: that text is a piece already.
    """
    pieces: list[Piece] = []
    for i, part in enumerate(text.split(PLACEHOLDER)):
        if i:
            pieces.append(ImageSlot())
        if part:
            pieces.append(part)
    return pieces


def with_images(text: str, num_images: int) -> list[Piece]:
    """Put images in front of a text: ``<Img>`` slot ``</Img> text``."""
    pieces: list[Piece] = []
    for _ in range(num_images):
        pieces += [IMAGE_OPEN, ImageSlot(), IMAGE_CLOSE + ' ']
    return pieces + [text]


def user_pieces(content: str | Iterable[Piece], num_images: int,
                template: Template) -> list[Piece]:
    """The pieces of a user turn; a plain text gets its images in front.

    Raises:
        PromptError: If a piece is of another type, the text is empty, or it
            cannot be encoded.
    """
    if isinstance(content, str):
        check_text(content, 'prompt')
        if not template.needs_text and not content:
            return [ImageSlot()] * num_images
        pieces = with_images(content, num_images)
        texts: list[str] = [content]
    elif isinstance(content, Iterable):
        pieces = list(content)
        texts = [piece for piece in pieces if isinstance(piece, str)]
    else:
        raise PromptError('A prompt is a text, or a list of texts and image '
                          f'slots, not {type(content).__name__}.')
    for piece in pieces:
        if not isinstance(piece, (str, ImageSlot)):
            raise PromptError('A prompt holds texts and image slots; this '
                              f'one holds {type(piece).__name__}: {piece!r}.')
    for text in texts:
        check_text(text, 'prompt')
    if template.needs_text and not any(text.strip() for text in texts):
        raise PromptError('The prompt is empty. Write what to do, for '
                          f'instance {STAGE2_INSTRUCTIONS[0]!r}')
    return pieces


def render(template: Template,
           turns: Sequence[Turn],
           system: str | None = None,
           images: int = 0) -> list[Piece]:
    """Turns as one list of pieces that ends where the answer begins.

    Args:
        template: Where the turns' texts go.
        turns: ``(role, content)`` with role ``user`` or ``assistant`` by
            turns; the first and the last are the user's. A single user turn
            without system text gets the training format.
        system: System text, taken literally.
        images: Images to put in front of the first turn, where that turn is
            a plain text.

    Raises:
        PromptError: If the turns do not alternate or a text is unusable.
    """
    turns = list(turns)
    roles = [turn[0] for turn in turns]
    expected = ['user', 'assistant'] * (len(turns) // 2) + ['user']
    if roles != expected:
        raise PromptError(
            'A conversation goes user, assistant, user, ... and ends with '
            f'the user; this one goes {", ".join(map(str, roles[:9]))}'
            f'{" ..." if len(roles) > 9 else ""}.' if roles else
            'The conversation is empty: it needs at least one user turn.')
    contents = [
        _answer(content) if i % 2 else user_pieces(
            content, 0 if i else images, template)
        for i, (_, content) in enumerate(turns)
    ]
    if len(turns) == 1 and not system:
        return join([Mark.BOS, *_fill(template.prompt, contents[0])])
    pieces: list[Piece] = [Mark.BOS]
    opening: list[Piece] = []
    if system:
        check_text(system, 'system text')
        opening = _fill(template.system, [system])
    if not template.system_inside:
        pieces, opening = pieces + opening, []
    for role, content in zip(roles, contents, strict=True):
        if role == 'user':
            pieces += _fill(template.user, opening + content)
            pieces += [template.assistant]
            opening = []
        else:
            pieces += content
            # A text end sign opens the next turn too and is not doubled.
            if template.end_mark:
                pieces += [Mark.EOS, Mark.BOS]
            elif not template.user.startswith(template.end):
                pieces += [template.end]
    return join(pieces)


def render_exchanges(template: Template,
                     turns: Sequence[Turn],
                     system: str | None = None,
                     images: int = 0) -> list[tuple[list[Piece], str]]:
    """A whole conversation, cut where answers begin and end, to train on.

    Args:
        template: Where the turns' texts go.
        turns: As of :func:`render`, but the last is the assistant's.
        system: As of :func:`render`.
        images: As of :func:`render`.

    Returns:
        list: For each answer the pieces since the last one's end sign, and
        the answer without its own end sign, which every answer gets.

    Raises:
        PromptError: If the turns do not alternate or a text is unusable.
    """
    turns = list(turns)
    if not turns or turns[-1][0] != 'assistant':
        raise PromptError('A conversation to train on ends with the '
                          "assistant's turn.")
    # Checks all turns; of a single question it gives the training format.
    pieces = render(template, turns[:-1], system, images)
    answers = [''.join(_answer(content)) for _, content in turns[1::2]]
    if len(answers) == 1:
        return [(pieces, answers[0])]
    if system:
        first = render(template, turns[:1], system, images)
    else:  # of a lone turn, render gives the other format
        content = user_pieces(turns[0][1], images, template)
        first = join([Mark.BOS, *_fill(template.user, content),
                      template.assistant])
    user = template.user
    if not template.end_mark and user.startswith(template.end):
        # The end sign before it opens the turn too.
        user = user[len(template.end):]
    parts = [first]
    for _, content in turns[2::2]:
        parts.append(join([
            *([Mark.BOS] if template.end_mark else []),
            *_fill(user, user_pieces(content, 0, template)),
            template.assistant
        ]))
    return list(zip(parts, answers, strict=True))


def join(pieces: Iterable[Piece]) -> list[Piece]:
    """Join neighbouring texts and drop empty ones.

    A tokenizer gives other ids for two texts than for both joined; between
    two images or marks there is always one text.
    """
    joined: list[Piece] = []
    for piece in pieces:
        if isinstance(piece, str) and joined and isinstance(joined[-1], str):
            joined[-1] += piece
        elif piece != '':
            joined.append(piece)
    return joined


def count_images(pieces: Iterable[Piece]) -> int:
    """How many images a prompt asks for."""
    return sum(isinstance(piece, ImageSlot) for piece in pieces)


def check_text(text: str, what: str) -> None:
    """Refuse what no tokenizer can read.

    Raises:
        PromptError: For lone surrogates and for absurd lengths.
    """
    if len(text) > MAX_CHARS:
        raise PromptError(f'The {what} has {len(text):,} characters; at most '
                          f'{MAX_CHARS:,} are read. Shorten it.')
    try:
        text.encode('utf-8')
    except UnicodeEncodeError as error:
        raise PromptError(
            f'The {what} holds half a character (a lone surrogate, '
            f'U+{ord(text[error.start]):04X}) at position {error.start}. '
            'Send valid Unicode text.') from None


def _fill(form: str, content: list[Piece]) -> list[Piece]:
    before, after = form.split('{}')
    return [before, *content, after]


def _answer(content: str | Iterable[Piece]) -> list[Piece]:
    pieces = [content] if isinstance(content, str) else list(content)
    for piece in pieces:
        if isinstance(piece, TokenIds):
            continue
        if not isinstance(piece, str):
            raise PromptError('An assistant turn holds text alone; this one '
                              f'holds {type(piece).__name__}.')
        check_text(piece, 'answer')
    return pieces


def _near(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(str(word), list(known), n=1)
    return f' (did you mean {close[0]!r}?)' if close else ''
