# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The model ``minigpt4`` of lmms-eval."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lmms_eval.api.instance import GenerationResult, Instance
from lmms_eval.api.model import lmms
from tqdm import tqdm

from ..errors import ConfigError
from .requests import batches, decoding, whole_number
from .zoo_model import Asker, Document


class MiniGPT4(lmms):
    """A model of the zoo as lmms-eval wants one.

    A question goes to the model as the task words it, in the template of the
    model, with the task's images in front, or where it writes ``<image>``.

    Args:
        pretrained: A name in the zoo (``minigpt4 models``).
        device: Where to run; by default a GPU if there is one, and in each
            of several processes its own.
        batch_size: Documents answered at once.
        max_batch_size: Not read; lmms-eval passes it to every model.
        llm: As of :class:`~mmpretrain_minigpt4.apis.CaptionInferencer`.
        weights: The same.
        dtype: The same.
        **others: Refused, so that no slip of a key goes unnoticed.

    Raises:
        ConfigError: If there is no such model or setting.
        MissingWeightsError: If weights are not there.
    """

    is_simple = True

    def __init__(self,
                 pretrained: str = 'minigpt-4_vicuna-7b_vqa',
                 device: str | None = None,
                 batch_size: int | str = 1,
                 max_batch_size: int | None = None,
                 llm: str | None = None,
                 weights: str | None = None,
                 dtype: str | None = None,
                 **others: Any) -> None:
        super().__init__()
        if others:
            raise ConfigError(
                f'model_args: there is no {", ".join(sorted(others))}. Known: '
                'pretrained, llm, weights, dtype, device, batch_size.')
        self.batch_size = whole_number(batch_size, 'batch_size')
        if device in (None, 'cuda') and torch.cuda.is_available():
            device = f'cuda:{os.environ.get("LOCAL_RANK", 0)}'
        self.asker: Asker | None = Asker(
            pretrained, device, llm=llm, weights=weights, dtype=dtype)
        # Where lmms-eval gathers its counts.
        self.device = self.asker.model.device

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """Answer each request; see the class of lmms-eval.

        Raises:
            MiniGPT4Error: If an image or a question cannot be read; the
                message names the task and the document.
        """
        asked = [request.args for request in requests]
        options = [decoding(args[1]) for args in asked]
        answers: list[str] = [''] * len(asked)
        with self._progress(len(asked)) as done:
            for batch in batches(map(_key, options), self.batch_size):
                documents = []
                for i in batch:
                    text, _, look, *place = asked[i]
                    documents.append(Document(
                        _name(*place), text, look(self._row(*place))))
                found = self.asker.answer(documents, options[batch[0]])
                for i, answer in zip(batch, found, strict=True):
                    answers[i] = answer
                done(len(batch))
        return answers

    def generate_until_multi_round(self, requests: list[Instance]) -> list:
        """Answer each request's rounds, until its task says to stop.

        A task words each round's question itself, out of the answers so far;
        nothing else of the rounds before is shown to the model.

        Returns:
            list: For each request what its task keeps: as a rule a list with
            one text for each round.
        """
        asked = [request.args for request in requests]
        options = [decoding(args[1]) for args in asked]
        kept: list = [None] * len(asked)
        with self._progress(len(asked)) as done:
            for batch in batches(map(_key, options), self.batch_size):
                talks = {}
                for i in batch:
                    text, _, look, speak, *place = asked[i]
                    talks[i] = _Talk(
                        _name(*place), self._row(*place), text, look, speak)
                while talks:
                    found = self.asker.answer(
                        [talk.document() for talk in talks.values()],
                        options[batch[0]])
                    for (i, talk), answer in zip(
                            list(talks.items()), found, strict=True):
                        if not talk.goes_on(answer):
                            kept[i] = talks.pop(i).kept
                            done(1)
        return kept

    def loglikelihood(self,
                      requests: list[Instance]) -> list[GenerationResult]:
        """How unlikely each answer is, and whether it is the greedy one.

        Returns:
            list: Pairs, in the wrapping that lmms-eval hands on unchanged
            (0.7.3 turns a bare pair into a text, on which its own scores
            fail). As from the models that lmms-eval ships, and as its
            accuracy expects, the first is the loss: the mean negative
            log-probability of the answer's tokens, the less the likelier.
        """
        asked = [request.args for request in requests]
        # A document's answers are rated together.
        groups: dict[tuple, list[int]] = {}
        for i, args in enumerate(asked):
            groups.setdefault((args[0], *args[3:]), []).append(i)
        members = list(groups.values())
        answers: list = [None] * len(asked)
        with self._progress(len(asked)) as done:
            for start in range(0, len(members), self.batch_size):
                batch = members[start:start + self.batch_size]
                scores = self.asker.rate([
                    self._choice([asked[i] for i in group]) for group in batch
                ])
                for group, of_each in zip(batch, scores, strict=True):
                    for i, score in zip(group, of_each, strict=True):
                        answers[i] = GenerationResult(
                            (-score.mean, score.greedy))
                    done(len(group))
        return answers

    def clean(self) -> None:
        """Give the memory back, as lmms-eval asks for after a run."""
        self.asker = None
        super().clean()

    def _row(self, index: Any, task: str, split: str) -> Any:
        return self.task_dict[task][split][index]

    def _choice(self, group: list[tuple]) -> Document:
        """What one question's requests ask for together."""
        text, _, *rest = group[0]
        row, visuals, name = None, None, 'a text without a document'
        if rest:
            look, *place = rest
            row, name = self._row(*place), _name(*place)
            visuals = look(row)
        # A task puts a blank before an answer; here the template has it.
        return Document(name, text, visuals, tuple(
            str(args[1](row) if callable(args[1]) else args[1]).lstrip()
            for args in group))

    @contextmanager
    def _progress(self, total: int) -> Iterator[Callable[[int], Any]]:
        with tqdm(total=total, desc='minigpt4', disable=self.rank != 0) as bar:
            yield bar.update


class _Talk:
    """One document's rounds, as its task leads them."""

    def __init__(self, name: str, row: Any, text: str, look: Callable,
                 speak: Callable) -> None:
        self.name = name
        self.row = row
        self.text = text
        self.visuals = look(row)
        self.speak = speak
        self.kept: list = []
        self.info: Any = None
        self.rounds = 0

    def document(self) -> Document:
        """What the task asks next."""
        return Document(self.name, self.text, self.visuals)

    def goes_on(self, answer: str) -> bool:
        """Tell the task an answer; says whether it asks for another."""
        self.rounds += 1
        self.visuals, self.text, ends, self.kept, self.info = self.speak(
            self.row,
            previous_output=[*self.kept, answer],
            round_idx=self.rounds,
            previous_round_info=self.info)
        return not ends


def _key(options: dict[str, Any]) -> tuple:
    return tuple(sorted(options.items()))


def _name(index: Any, task: str, split: str) -> str:
    return f'{task} ({split}), document {index}'
