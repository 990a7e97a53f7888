# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The one decoding loop: a queue of requests over a fixed number of slots.

Rows that end leave at once and the next requests enter, first come, first
served, so that short answers never wait for long ones. What a row answers
does not depend on its neighbours.

Legend: n running rows, b rows that enter, w beams of a row, T tokens of a
prompt, E width of the language model, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import NamedTuple

import torch

from ..errors import GenerationError, PromptError
from .beams import BeamSearch
from .general_decoder import GeneralDecoder
from .llama import Llama
from .llama_decoder import LlamaDecoder
from .options import GenerationOptions
from .prompt import Prompt
from .sampling import choose, new_generator
from .stopping import Answer, StopMatcher, TextStream


@dataclass(frozen=True)
class EngineSettings:
    """What can be chosen about the engine; no choice changes a text.

    Args:
        slots: Rows that run at a time; None is 16 on a CPU, 128 elsewhere.
        fast: Use the own forward pass of LLaMA-like models.
        reuse: Compute what prompts share only once.
        patience: A request that could enter waits at most this many steps
            for others to be read together with it.
    """
    slots: int | None = None
    fast: bool = True
    reuse: bool = True
    patience: int = 4

    def __post_init__(self) -> None:
        if self.slots is not None and self.slots < 1:
            raise GenerationError(f'slots must be at least 1, not '
                                  f'{self.slots}.')
        if self.patience < 0:
            raise GenerationError('patience must be at least 0, not '
                                  f'{self.patience}.')

    @classmethod
    def from_dict(cls, settings: Mapping | None) -> EngineSettings:
        """Settings over the defaults.

        Raises:
            GenerationError: If there is no such setting.
        """
        known = [item.name for item in fields(cls)]
        for key in settings or {}:
            if key not in known:
                raise GenerationError(
                    f'The decoding engine has no setting {key!r}; known: '
                    f'{", ".join(known)}.')
        return cls(**(settings or {}))

    def slots_on(self, device: torch.device) -> int:
        """The number of slots on a device."""
        return self.slots or (16 if device.type == 'cpu' else 128)


class Request(NamedTuple):
    """A prompt to be answered.

    ``tag`` comes back with the answer. With ``stream`` the text comes in
    pieces while it grows (with one beam only).
    """
    prompt: Prompt
    options: GenerationOptions
    matcher: StopMatcher
    tag: Hashable = None
    stream: bool = False


class Event(NamedTuple):
    """Something that became known: a piece of text, or a whole answer."""
    tag: Hashable
    text: str = ''
    answer: Answer | None = None


@dataclass
class EngineStats:
    """What the engine has done.

    Attributes:
        steps: Decoding steps.
        busy: Rows that ran, summed over steps.
        offered: Slots that could have run while requests were left.
        used: Of those, the ones that ran.
        read: Prompt tokens that were read.
        reused: Prompt tokens whose keys and values were there already.
    """
    steps: int = 0
    busy: int = 0
    offered: int = 0
    used: int = 0
    read: int = 0
    reused: int = 0

    @property
    def occupancy(self) -> float:
        """Share of the slots that ran while requests were left."""
        return self.used / self.offered if self.offered else 1.


@dataclass
class _Row:
    request: Request
    limit: int
    generator: torch.Generator | None
    beams: BeamSearch | None
    stream: TextStream | None
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)


class Engine:
    """Decodes requests over the slots of one language model.

    It may be kept between calls: what is left of earlier prompts in its
    slots is then reused, so that a new turn of a chat reads its own words
    only. It is not to be called by two threads at once.

    Args:
        llm: A causal language model of transformers.
        slots: The largest number of rows at a time.
        num_beams: Beams of each row; all requests must ask for these.
        context: How many tokens, prompt and answer, the model can hold.
        settings: What else can be chosen.
    """

    def __init__(self,
                 llm: torch.nn.Module,
                 slots: int = 1,
                 num_beams: int = 1,
                 context: int | None = None,
                 settings: EngineSettings | None = None) -> None:
        settings = settings or EngineSettings()
        self.context, self.num_beams = context, num_beams
        self.patience = settings.patience
        if settings.fast and Llama.fits(llm):
            self.decoder = LlamaDecoder(llm, slots, num_beams,
                                        settings.reuse)
        else:
            self.decoder = GeneralDecoder(llm, slots, num_beams)
        self.device = llm.get_input_embeddings().weight.device
        self.stats = EngineStats()
        self._rows: list[_Row] = []
        self._cancelled: set[Hashable] = set()
        self._waited = 0

    def run(self, requests: Iterable[Request]) -> Iterator[Event]:
        """Answer requests, which are taken in order as slots become free.

        Closing the iterator abandons what still runs.

        Raises:
            GenerationError: If a request asks for another number of beams.
            PromptError: If a prompt leaves no room for an answer.
        """
        source = iter(requests)
        self._cancelled.clear()
        waiting: list[_Row] = []
        more = True
        try:
            while True:
                if more:
                    more = self._take(source, waiting)
                yield from self._admit(waiting, more)
                if not self._rows:
                    if more or waiting:
                        continue
                    return
                self._count(bool(more or waiting))
                tokens, parents = self._next()
                logits = self.decoder.step(tokens, parents)
                yield from self._advance(logits, range(len(self._rows)))
        finally:
            self.decoder.drop(range(len(self._rows)))
            self._rows = []

    def cancel(self, tag: Hashable) -> None:
        """End the request of this tag before the next step.

        Its answer is what there is by then, finished as ``cancelled``.
        """
        self._cancelled.add(tag)

    def _take(self, source: Iterator[Request], waiting: list[_Row]) -> bool:
        """Take as many requests as slots are free; False at their end."""
        free = self.decoder.slots - len(self._rows) - len(waiting)
        if self._rows and not self.decoder.refills:
            return True
        for _ in range(free):
            request = next(source, None)
            if request is None:
                return False
            waiting.append(self._new_row(request))
        return True

    def _admit(self, waiting: list[_Row], more: bool) -> Iterator[Event]:
        """Read what waits, once it is worth it."""
        if not waiting or (self._rows and not self.decoder.refills):
            return
        worth = max(1, self.decoder.slots // 16)
        self._waited += 1
        if (self._rows and len(waiting) < worth
                and self._waited <= self.patience and more):
            return
        self._waited = 0
        first = len(self._rows)
        self._rows += waiting
        logits = self.decoder.admit([row.request.prompt for row in waiting],
                                    max(row.limit for row in waiting) *
                                    self.num_beams)
        waiting.clear()
        self.stats.read = self.decoder.num_read
        self.stats.reused = self.decoder.num_reused
        # float[b, V] -> float[b, 1, V]: all beams begin as one.
        yield from self._advance(
            logits.unsqueeze(1), range(first, len(self._rows)))

    def _advance(self, logits: torch.Tensor, rows: range) -> Iterator[Event]:
        """Choose a token for each of these rows; those that end leave."""
        active = [self._rows[i] for i in rows]
        events: list[Event] = []
        if self.num_beams > 1:
            for row, scores in zip(active, logits, strict=True):
                row.beams.advance(scores)
        else:
            self._extend(active, logits[:, 0], events)
        gone = [
            i for i, row in enumerate(self._rows)
            if (i in rows and self._ended(row))
            or row.request.tag in self._cancelled
        ]
        events += [self._finish(self._rows[i]) for i in gone]
        if gone:
            for i in gone:
                self.decoder.extend_keys(i, self._rows[i].tokens)
            order = self.decoder.drop(gone)
            self._rows = [self._rows[i] for i in order]
        yield from events

    def _extend(self, rows: list[_Row], logits: torch.Tensor,
                events: list[Event]) -> None:
        options = [row.request.options for row in rows]
        tokens = choose(logits, [row.tokens for row in rows], options,
                        [row.generator for row in rows])
        if any(of_row.logprobs for of_row in options):
            chosen = logits.float().log_softmax(-1).gather(
                1, tokens.unsqueeze(1)).squeeze(1)
            for row, value in zip(rows, chosen.tolist(), strict=True):
                row.logprobs.append(value)
        for row, token in zip(rows, tokens.tolist(), strict=True):
            row.tokens.append(token)
            if row.stream is not None:
                piece = row.stream.push(token)
                if piece:
                    events.append(Event(row.request.tag, piece))

    def _ended(self, row: _Row) -> bool:
        if row.beams is not None:
            return row.beams.done
        return (len(row.tokens) >= row.limit
                or row.request.matcher.ends(row.tokens))

    def _finish(self, row: _Row) -> Event:
        request = row.request
        cancelled = request.tag in self._cancelled and not self._ended(row)
        tokens = row.tokens if row.beams is None else row.beams.best
        answer = request.matcher.answer(tokens, row.limit)
        if cancelled:
            answer = answer._replace(finish='cancelled')
        if request.options.logprobs:
            answer = answer._replace(
                logprobs=tuple(row.logprobs[:len(answer.token_ids)]))
        rest = '' if row.stream is None else row.stream.finish()
        return Event(request.tag, rest, answer)

    def _next(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The tokens to be read next, int[n, w], and their parents."""
        if self.num_beams == 1:
            tokens = [[row.tokens[-1]] for row in self._rows]
            return torch.tensor(tokens, device=self.device), None
        tokens = torch.tensor([row.beams.tokens for row in self._rows],
                              device=self.device)
        parents = torch.tensor([row.beams.parents for row in self._rows],
                               device=self.device)
        return tokens, parents

    def _count(self, left: bool) -> None:
        self.stats.steps += 1
        self.stats.busy += len(self._rows)
        if left:
            self.stats.offered += self.decoder.slots
            self.stats.used += len(self._rows)

    def _new_row(self, request: Request) -> _Row:
        options = request.options
        if options.num_beams != self.num_beams:
            raise GenerationError(
                f'This engine runs {self.num_beams} beams a row; a request '
                f'asks for {options.num_beams}. Use one engine for each.')
        if request.stream and self.num_beams > 1:
            raise GenerationError('Beams change places until the end, so '
                                  'their text cannot be streamed. Set '
                                  'num_beams=1, or do not stream.')
        if options.logprobs and self.num_beams > 1:
            raise GenerationError('logprobs are given for num_beams=1 only.')
        limit = row_limit(len(request.prompt.embeds), options, self.context)
        generator = new_generator(options)
        beams = stream = None
        if self.num_beams > 1:
            beams = BeamSearch(options, request.matcher, limit, generator)
        if request.stream:
            stream = TextStream(request.matcher)
        return _Row(request, limit, generator, beams, stream)


def row_limit(length: int, options: GenerationOptions,
              context: int | None) -> int:
    """How many tokens may follow a prompt of ``length`` tokens.

    Raises:
        PromptError: If there is no room for any.
    """
    if context is None:
        return options.max_new_tokens
    if length >= context:
        raise PromptError(
            f'The prompt has {length:,} tokens with its images; the language '
            f'model holds {context:,} of prompt and answer together. Shorten '
            'the text or send fewer images.')
    return min(options.max_new_tokens, context - length)
