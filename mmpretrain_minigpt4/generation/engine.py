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

from collections import deque
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from ..errors import GenerationError, PromptError
from ..ops.transfer import AsyncHostCopy, to_device
from .beam_search import BeamSearch, advance_all
from .decoder_pool import create_decoder, invalidate
from .engine_config import EngineConfig, EngineStats
from .prompt import Prompt
from .sampler import new_generator, sample
from .sampling_params import SamplingParams
from .stop_criteria import Answer, IncrementalDetokenizer, StopChecker


class Request(NamedTuple):
    """A prompt to be answered.

    ``tag`` comes back with the answer. With ``stream`` the text comes in
    pieces while it grows (with one beam only).
    """
    prompt: Prompt
    options: SamplingParams
    stop_checker: StopChecker
    tag: Hashable = None
    stream: bool = False


class Event(NamedTuple):
    """Something that became known: a piece of text, or a whole answer."""
    tag: Hashable
    text: str = ''
    answer: Answer | None = None


@dataclass
class _Row:
    request: Request
    limit: int
    generator: torch.Generator | None
    beams: BeamSearch | None
    stream: IncrementalDetokenizer | None
    # Tokens that were chosen; those that are not in ``tokens`` yet are on
    # their way.
    chosen: int = 0
    done: bool = False
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)

    @property
    def plain(self) -> bool:
        """Whether the next token can be chosen without knowing the last."""
        options = self.request.options
        return (not options.do_sample and options.repetition_penalty == 1
                and not options.no_repeat_ngram_size)


class InFlight(NamedTuple):
    """Tokens of some rows on their way to the host.

    ``used`` tells whether these rows were counted as ones that ran.
    """
    rows: list[_Row]
    host_copy: AsyncHostCopy
    used: bool


class Engine:
    """Decodes requests over the slots of one language model.

    It may be kept between calls: what is left of earlier prompts in its
    slots is then reused, so that a new turn of a chat reads its own words
    only. It is not to be called by two threads at once.

    Args:
        llm: A causal language model of transformers.
        max_num_seqs: The largest number of rows at a time.
        num_beams: Beams of each row; all requests must ask for these.
        context: How many tokens, prompt and answer, the model can hold.
        settings: What else can be chosen.
    """

    def __init__(self,
                 llm: torch.nn.Module,
                 max_num_seqs: int = 1,
                 num_beams: int = 1,
                 context: int | None = None,
                 settings: EngineConfig | None = None) -> None:
        settings = settings or EngineConfig()
        self.context, self.num_beams = context, num_beams
        self.prefill_wait_steps = settings.prefill_wait_steps
        self.decoder = create_decoder(llm, max_num_seqs, num_beams, settings)
        self._made_for = llm, settings
        self._is_new = True
        self.device = llm.get_input_embeddings().weight.device
        self.async_steps = settings.async_steps_on(self.device)
        self.stats = EngineStats()
        self._rows: list[_Row] = []
        # The last token of each row, int[n] on the device.
        self._last: torch.Tensor | None = None
        self._in_flight: deque[InFlight] = deque()
        self._used = False
        self._cancelled: set[Hashable] = set()
        self._steps_waited = 0

    def run(self, requests: Iterable[Request]) -> Iterator[Event]:
        """Answer requests, which are taken in order as slots become free.

        Closing the iterator abandons what still runs.

        Raises:
            GenerationError: If a request asks for another number of beams.
            PromptError: If a prompt leaves no room for an answer.
        """
        source = iter(requests)
        self._cancelled.clear()
        if not self._is_new:
            invalidate(self._made_for[0], self.decoder, self._made_for[1])
        self._is_new = False
        waiting: list[_Row] = []
        more = True
        try:
            while True:
                if more:
                    more = self._poll(source, waiting)
                yield from self._prefill(waiting, more)
                if not self._rows:
                    if more or waiting:
                        continue
                    return
                if self._in_flight and all(row.chosen >= row.limit
                                           for row in self._rows):
                    yield from self._retire(self._collect(0))
                    continue
                self._count(bool(more or waiting))
                tokens, parents = self._next()
                logits = self.decoder.step(tokens, parents)
                yield from self._advance(logits, range(len(self._rows)))
        finally:
            self.decoder.drop(range(len(self._rows)))
            self._rows = []
            self._in_flight.clear()

    def cancel(self, tag: Hashable) -> None:
        """End the request of this tag before the next step.

        Its answer is what there is by then, finished as ``cancelled``.
        """
        self._cancelled.add(tag)

    def _poll(self, source: Iterator[Request], waiting: list[_Row]) -> bool:
        """Take as many requests as slots are free; False at their end."""
        free = self.decoder.max_num_seqs - len(self._rows) - len(waiting)
        if self._rows and not self.decoder.refills:
            return True
        for _ in range(free):
            request = next(source, None)
            if request is None:
                return False
            waiting.append(self._new_row(request))
        return True

    def _prefill(self, waiting: list[_Row], more: bool) -> Iterator[Event]:
        """Read what waits, once it is worth it."""
        if not waiting or (self._rows and not self.decoder.refills):
            return
        worth = max(1, self.decoder.max_num_seqs // 16)
        self._steps_waited += 1
        if (self._rows and len(waiting) < worth
                and self._steps_waited <= self.prefill_wait_steps and more):
            return
        self._steps_waited = 0
        first = len(self._rows)
        self._rows += waiting
        logits = self.decoder.prefill([row.request.prompt for row in waiting],
                                      max(row.limit for row in waiting) *
                                      self.num_beams)
        waiting.clear()
        self.stats.prefill_tokens = self.decoder.num_prefill_tokens
        self.stats.cached_tokens = self.decoder.num_cached_tokens
        # float[b, V] -> float[b, 1, V]: all beams begin as one.
        yield from self._advance(
            logits.unsqueeze(1), range(first, len(self._rows)))

    def _advance(self, logits: torch.Tensor, rows: range) -> Iterator[Event]:
        """Choose a token for each of these rows; those that end leave."""
        active = [self._rows[i] for i in rows]
        events: list[Event] = []
        if self.num_beams > 1:
            advance_all([row.beams for row in active], logits)
            for row in active:
                row.done = row.beams.done
        else:
            self._sample(active, logits[:, 0], rows.start)
            pending = self.async_steps and all(row.plain for row in self._rows)
            events = self._collect(self.async_steps if pending else 0)
        yield from self._retire(events)

    def _sample(self, rows: list[_Row], logits: torch.Tensor,
                start: int) -> None:
        """Choose on the device, and send for what was chosen."""
        options = [row.request.options for row in rows]
        tokens = sample(logits, [row.tokens for row in rows], options,
                        [row.generator for row in rows])
        chances = None
        if any(of_row.logprobs for of_row in options):
            chances = logits.float().log_softmax(-1).gather(
                1, tokens.unsqueeze(1)).squeeze(1)
        self._last = (torch.cat([self._last[:start], tokens]) if start else
                      tokens)
        for row in rows:
            row.chosen += 1
        self._in_flight.append(
            InFlight(rows, AsyncHostCopy(tokens, chances), self._used))
        self._used = False

    def _collect(self, pending: int) -> list[Event]:
        """Take in all tokens but those of the last ``ahead`` flights."""
        events: list[Event] = []
        while len(self._in_flight) > pending:
            in_flight = self._in_flight.popleft()
            tokens, chances = in_flight.host_copy.lists()
            for i, row in enumerate(in_flight.rows):
                if row.done:  # it had ended before, unknown to us
                    self.stats.wasted_steps += 1
                    self.stats.active_slot_steps -= in_flight.used
                    continue
                row.tokens.append(tokens[i])
                if chances is not None:
                    row.logprobs.append(chances[i])
                if row.stream is not None:
                    piece = row.stream.push(tokens[i])
                    if piece:
                        events.append(Event(row.request.tag, piece))
                row.done = (len(row.tokens) >= row.limit
                            or row.request.stop_checker.ends(row.tokens))
        return events

    def _retire(self, events: list[Event]) -> Iterator[Event]:
        """Let rows go that have ended, or were cancelled."""
        gone = [
            i for i, row in enumerate(self._rows)
            if row.done or row.request.tag in self._cancelled
        ]
        events += [self._finish(self._rows[i]) for i in gone]
        if gone:
            for i in gone:
                self.decoder.record_tokens(i, self._rows[i].tokens)
            order = self.decoder.drop(gone)
            self._rows = [self._rows[i] for i in order]
            if self._last is not None and self._rows:
                self._last = self._last[to_device(order, self.device)]
        yield from events

    def _finish(self, row: _Row) -> Event:
        request = row.request
        cancelled = not row.done
        row.done = True
        tokens = row.tokens if row.beams is None else row.beams.best
        answer = request.stop_checker.answer(tokens, row.limit)
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
            return self._last.unsqueeze(1), None
        return tuple(
            to_device(values, self.device) for values in (
                [row.beams.tokens for row in self._rows],
                [row.beams.parents for row in self._rows]))

    def _count(self, left: bool) -> None:
        self.stats.steps += 1
        self.stats.running += len(self._rows)
        if left:
            self.stats.slot_steps += self.decoder.max_num_seqs
            self.stats.active_slot_steps += len(self._rows)
        self._used = left

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
            beams = BeamSearch(options, request.stop_checker, limit, generator)
        if request.stream:
            stream = IncrementalDetokenizer(request.stop_checker)
        return _Row(request, limit, generator, beams, stream)


def row_limit(length: int, options: SamplingParams,
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
