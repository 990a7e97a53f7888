# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""What the head reads in a data sample: the prompt and the target."""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import ConfigError, PromptError
from ...prompts import (
    Piece,
    Template,
    count_images,
    get_template,
    parse,
    render,
    render_exchanges,
)

# The fields of a data sample that each task reads and writes.
TARGETS = dict(caption='gt_caption', vqa='gt_answer', text='gt_text')
PREDICTIONS = dict(caption='pred_caption', vqa='pred_answer', text='pred_text')


@dataclass(frozen=True)
class SampleReader:
    """Turns a data sample's fields into pieces.

    The instruction of a sample is its ``conversation`` (a list of
    ``(role, content)``, perhaps with ``system``), else its ``prompt`` (a
    text, or a list of texts and :class:`prompts.ImageSlot`), else its
    ``question`` in ``question_template``, else ``default``. A sample with
    ``bare=True`` has none: image, then caption, as in stage 1. A
    ``conversation`` that ends with the assistant's turn brings its own
    targets: all of its answers are learnt.

    Args:
        task: ``caption``, ``vqa`` or ``text``.
        template: Of all samples but the bare ones.
        default: The instruction of samples that bring none.
        question_template: What a question is put into.

    Raises:
        ConfigError: If there is no such task, or the question has no place.
    """
    task: str
    template: Template
    default: str
    question_template: str

    def __post_init__(self) -> None:
        if self.task not in TARGETS:
            raise ConfigError(f'There is no task {self.task!r}; known: '
                              f'{", ".join(TARGETS)}.')
        if self.question_template.count('{question}') != 1:
            raise ConfigError('question_template must hold {question} exactly '
                              f'once; it is {self.question_template!r}.')

    def prompt(self, sample, num_images: int
               ) -> tuple[list[Piece], Template]:
        """The pieces before the answer, and the template they went through.

        Args:
            sample: A data sample, a dict, or None.
            num_images: Images of the sample, put in front of a plain text.

        Raises:
            PromptError: If the instruction is missing, empty or unreadable.
        """
        template = self.template
        if _get(sample, 'bare'):
            template = get_template('bare')
        turns = _get(sample, 'conversation')
        if turns is None:
            turns = [('user', self._content(sample, template))]
        system = _get(sample, 'system')
        return render(template, turns, system, num_images), template

    def turns(self, sample) -> list:
        """The turns of a sample's conversation; none for other samples."""
        return list(_get(sample, 'conversation') or ())

    def exchanges(self, sample, num_images: int
                  ) -> tuple[list[tuple[list[Piece], str]], Template]:
        """What is before each answer, and the answer, to train on.

        Args:
            sample: As of :meth:`prompt`.
            num_images: As of :meth:`prompt`.

        Raises:
            PromptError: If something is missing, empty or unreadable.
        """
        turns = _get(sample, 'conversation')
        if turns and turns[-1][0] == 'assistant':
            return render_exchanges(self.template, turns,
                                    _get(sample, 'system'),
                                    num_images), self.template
        pieces, template = self.prompt(sample, num_images)
        return [(pieces, self.target(sample))], template

    def target(self, sample) -> str:
        """The text to learn: the task's field, or another task's.

        Of a list, as VQA data sets have it, the first is taken.

        Raises:
            PromptError: If the sample has none.
        """
        names = [TARGETS[self.task], *TARGETS.values()]
        for name in names:
            target = _get(sample, name)
            if isinstance(target, (list, tuple)) and target:
                target = target[0]
            if isinstance(target, str):
                return target
        raise PromptError(
            f'A sample to train on has no text in {names[0]!r}. Let the data '
            'set give it, and PackInputs keep it (algorithm_keys).')

    def _content(self, sample, template: Template) -> str | list[Piece]:
        content = _get(sample, 'prompt')
        if not template.needs_text:
            # Without an instruction, but images may be placed among texts.
            return '' if content is None or isinstance(content,
                                                       str) else content
        if content is not None:
            return content
        question = _get(sample, 'question')
        if question is not None:
            if not isinstance(question, str) or not question.strip():
                raise PromptError('The question is empty. Ask something.')
            before, after = self.question_template.split('{question}')
            return before + question + after
        if self.task == 'vqa':
            raise PromptError("A sample has no 'question'. Let the data set "
                              'or the call give one.')
        pieces = parse(self.default)
        return pieces if count_images(pieces) else self.default


def _get(sample, key: str):
    return None if sample is None else sample.get(key)
