# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Where an answer ends: stop texts found in whatever tokens spell them.

A stop text has several spellings in tokens: in the LLaMA vocabulary ``###``
is one token after a blank, two after a letter, and may begin or end inside a
longer token. So tokens are turned into the bytes that they stand for, and
stop texts are looked for there. Everything here works on plain lists and
bytes, one row at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Answer(NamedTuple):
    """One decoded row.

    ``token_ids`` are the tokens that were generated, up to and with what
    ended them; ``text`` is without the stop text; ``finish`` is ``stop``
    (a stop text or the end token), ``length`` or ``cancelled``; ``logprobs``
    are the log-probabilities of the tokens, where they were asked for.
    """
    token_ids: list[int]
    text: str
    finish: str
    logprobs: tuple[float, ...] | None = None


class StopChecker:
    """Finds the first stop text in a row of tokens.

    Args:
        token_bytes: The bytes that each token id stands for; empty for
            control tokens. Ids beyond the list stand for nothing.
        stops: The stop texts.
        end_ids: Tokens that end an answer by themselves.
    """

    def __init__(self,
                 token_bytes: Sequence[bytes],
                 stops: Iterable[str] = (),
                 end_ids: Iterable[int] = ()) -> None:
        self.token_bytes = token_bytes
        self.stops = tuple(
            dict.fromkeys(stop.encode('utf-8') for stop in stops if stop))
        self.end_ids = frozenset(end_ids)
        # A token that stands for nothing takes room in the window too; some
        # slack covers the few that a model may emit amid a stop text.
        self.window = max(map(len, self.stops), default=0) + 8

    def bytes_of(self, token_ids: Iterable[int]) -> bytes:
        """The bytes of a row."""
        table = self.token_bytes
        return b''.join(table[i] for i in token_ids if 0 <= i < len(table))

    def ends(self, token_ids: Sequence[int]) -> bool:
        """Whether the row's last tokens complete a stop text or end it."""
        if not token_ids:
            return False
        if token_ids[-1] in self.end_ids:
            return True
        tail = self.bytes_of(token_ids[-self.window:])
        return any(stop in tail for stop in self.stops)

    def find(self, data: bytes) -> int:
        """Where the first stop text begins, or -1."""
        found = [at for at in map(data.find, self.stops) if at >= 0]
        return min(found, default=-1)

    def partial_stop_len(self, data: bytes) -> int:
        """How many last bytes may be the beginning of a stop text."""
        longest = 0
        for stop in self.stops:
            for size in range(min(len(stop) - 1, len(data)), longest, -1):
                if data.endswith(stop[:size]):
                    longest = size
                    break
        return longest

    def answer(self, token_ids: Sequence[int], limit: int | None = None
               ) -> Answer:
        """Cut a row at its end and read it.

        A row that broke off for its length amid a stop text loses that
        beginning: no part of a stop text is ever part of the answer.

        Args:
            token_ids: Generated tokens, perhaps padded after their end.
            limit: The row's own largest number of tokens.
        """
        kept: list[int] = []
        finish = 'length'
        for token in token_ids[:limit]:
            kept.append(int(token))
            if self.ends(kept):
                finish = 'stop'
                break
        data = self.bytes_of(i for i in kept if i not in self.end_ids)
        at = self.find(data)
        if at >= 0:
            data = data[:at]
        elif finish == 'length':
            data = data[:len(data) - self.partial_stop_len(data)]
        return Answer(kept, data.decode('utf-8', errors='replace').strip(),
                      finish)


class IncrementalDetokenizer:
    """Gives a row's text while it grows, never a part of a stop text.

    A character whose bytes are not all there yet is held back, as is
    anything that may be the beginning of a stop text.

    Args:
        stop_checker: What ends the row.
    """

    def __init__(self, stop_checker: StopChecker) -> None:
        self.stop_checker = stop_checker
        self.data = b''
        self.done = False
        self._given = 0
        self._started = False

    def push(self, token_id: int) -> str:
        """Add a token; returns the text that is now certain."""
        if self.done:
            return ''
        if token_id in self.stop_checker.end_ids:
            return self.finish(held=False)
        self.data += self.stop_checker.bytes_of([token_id])
        at = self.stop_checker.find(self.data)
        if at >= 0:
            self.data, self.done = self.data[:at], True
            return self._give(at, final=True)
        return self._give(len(self.data) -
                          self.stop_checker.partial_stop_len(self.data),
                          final=False)

    def finish(self, held: bool = True) -> str:
        """The rest; ``held`` says that the row broke off for its length."""
        if self.done:
            return ''
        self.done = True
        end = len(self.data)
        if held:
            end -= self.stop_checker.partial_stop_len(self.data)
        return self._give(end, final=True)

    def _give(self, end: int, final: bool) -> str:
        data = self.data[self._given:end]
        if not final:
            data = data[:_whole(data)]
            # Blanks at the end wait: the answer's last ones are dropped.
            data = data[:len(data.rstrip())]
        text = data.decode('utf-8', errors='replace')
        self._given += len(data)
        if final:
            text = text.rstrip()
        if not self._started:
            text = text.lstrip()
            self._started = bool(text)
        return text


def _whole(data: bytes) -> int:
    """The length of ``data`` without an unfinished last character."""
    for back in range(1, min(3, len(data)) + 1):
        byte = data[-back]
        if byte >= 0xC0:  # a lead byte: how many bytes does it announce?
            size = 2 + (byte >= 0xE0) + (byte >= 0xF0)
            return len(data) - back if size > back else len(data)
        if byte < 0x80:
            break
    return len(data)
