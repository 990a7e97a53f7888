# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""How to decode: one frozen set of options, checked when it is made."""

from __future__ import annotations

import difflib
import math
import operator
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace

from ..errors import GenerationError

MAX_BEAMS = 32
MAX_STOPS = 64
MAX_STOP_CHARS = 256

# What the original demo decodes with. Benchmarks need greedy decoding, which
# is the default here: decoding alone moves POPE by 16 points.
CHAT_OPTIONS = dict(
    max_new_tokens=300,
    do_sample=True,
    top_p=0.9,
    temperature=1.0,
    repetition_penalty=1.05)


@dataclass(frozen=True)
class SamplingParams:
    """Decoding options; the defaults are greedy and repeatable.

    Args:
        max_new_tokens: At most this many tokens; whatever its size, decoding
            also ends where the language model's context does.
        num_beams: 1 to 32.
        do_sample: Draw tokens, rather than take the likeliest.
        temperature: 0 to 100; 0 means greedy, whatever ``do_sample`` says.
        top_p: Above 0, at most 1. Read only when sampling, as ``top_k``.
        top_k: 0 keeps all tokens.
        repetition_penalty: Above 0, at most 10; over what was generated,
            not over the prompt (which enters as embeddings).
        length_penalty: -10 to 10; read by beam search only.
        no_repeat_ngram_size: 0 allows every repetition.
        seed: Draw with this seed (any integer, taken modulo 2**63), leaving
            the global random state as it was. None draws from that state.
        stops: More texts that end an answer, at most 64.
        logprobs: Give the log-probability of each token, as the model sees
            it before penalties and temperature; with one beam only.

    Raises:
        GenerationError: If a value has no meaning.
    """
    max_new_tokens: int = 300
    num_beams: int = 1
    do_sample: bool = False
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    length_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    seed: int | None = None
    stops: tuple[str, ...] = ()
    logprobs: bool = False

    def __post_init__(self) -> None:

        def put(key, value):
            object.__setattr__(self, key, value)

        put('max_new_tokens', _integer(self, 'max_new_tokens', 1))
        put('num_beams', _integer(self, 'num_beams', 1, MAX_BEAMS))
        put('top_k', _integer(self, 'top_k', 0))
        put('no_repeat_ngram_size', _integer(self, 'no_repeat_ngram_size', 0))
        if self.seed is not None:
            put('seed', _integer(self, 'seed') % 2**63)
        for key in ('do_sample', 'logprobs'):
            if not isinstance(getattr(self, key), bool):
                raise GenerationError(f'{key} must be True or False, not '
                                      f'{getattr(self, key)!r}.')
        put('temperature', _number(self, 'temperature', 0, 100))
        put('top_p', _number(self, 'top_p', 0, 1, above=True))
        put('repetition_penalty',
            _number(self, 'repetition_penalty', 0, 10, above=True))
        put('length_penalty', _number(self, 'length_penalty', -10, 10))
        put('stops', _stops(self.stops))
        if self.temperature == 0:
            put('do_sample', False)

    @classmethod
    def from_dict(cls, *overlays: Mapping | None) -> SamplingParams:
        """Merge dicts, the later over the earlier; None means absent.

        Raises:
            GenerationError: If there is no such option.
        """
        merged: dict = {}
        for overlay in overlays:
            merged.update(overlay or {})
        return cls().replace(**merged)

    def replace(self, **changes) -> SamplingParams:
        """The same options but for some."""
        known = {field.name for field in fields(self)}
        for key in changes:
            if key not in known:
                near = difflib.get_close_matches(str(key), known, n=1)
                hint = f' (did you mean {near[0]!r}?)' if near else ''
                raise GenerationError(
                    f'There is no decoding option {key!r}{hint}. Known: '
                    f'{", ".join(sorted(known))}.')
        return replace(self, **changes)

    def to_dict(self) -> dict:
        """The options as plain values."""
        return asdict(self)


def _integer(options, key, low=None, high=None) -> int:
    value = getattr(options, key)
    try:
        if isinstance(value, bool):
            raise TypeError
        if isinstance(value, float) and value.is_integer():
            value = int(value)  # JSON clients write 1e3
        number = operator.index(value)
    except TypeError:
        raise GenerationError(
            f'{key} must be a whole number, not {value!r}.') from None
    if (low is not None and number < low) or (high is not None
                                              and number > high):
        bound = f'at least {low}' if high is None else f'{low} to {high}'
        raise GenerationError(f'{key} must be {bound}, not {number}.')
    return number


def _number(options, key, low, high, above=False) -> float:
    value = getattr(options, key)
    try:
        if isinstance(value, (bool, str)):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise GenerationError(
            f'{key} must be a number, not {value!r}.') from None
    if math.isnan(number) or not low <= number <= high or (above
                                                           and number == low):
        bound = f'above {low}' if above else f'at least {low}'
        raise GenerationError(
            f'{key} must be {bound} and at most {high}, not {value!r}.')
    return number


def _stops(stops) -> tuple[str, ...]:
    stops = (stops, ) if isinstance(stops, str) else stops
    try:
        stops = tuple(stops)
    except TypeError:
        raise GenerationError(
            f'stops must be a list of texts, not {stops!r}.') from None
    if len(stops) > MAX_STOPS:
        raise GenerationError(f'There are {len(stops):,} stop texts; at most '
                              f'{MAX_STOPS} are watched.')
    for stop in stops:
        if not isinstance(stop, str) or not 0 < len(stop) <= MAX_STOP_CHARS:
            raise GenerationError('A stop text has 1 to '
                                  f'{MAX_STOP_CHARS} characters, not '
                                  f'{str(stop)[:40]!r}.')
        try:
            stop.encode('utf-8')
        except UnicodeEncodeError:
            raise GenerationError('A stop text holds half a character (a '
                                  f'lone surrogate): {stop!r}.') from None
    return stops
