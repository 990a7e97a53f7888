# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""One measurement as a JSON line, with all that is needed to repeat it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from mmpretrain_minigpt4.errors import BenchmarkError

from .clock import Sample
from .roofline import Limit


@dataclass
class Record:
    """A row of a suite.

    Attributes:
        suite: ``cpu``, ``gpu``, ``train``, ``scaling`` or ``memory``.
        row: What was measured.
        unit: Of every value of the row.
        better: Which way is better: ``higher``, ``lower``, or ``near`` a
            number, as for a slope.
        value: Our median; None if it could not be measured.
        spread: Half of the range of the middle half, over the median.
        rounds: How often it was measured.
        peers: For each peer its value and spread, and the ratio to ours (2
            means that ours is twice as good) with its spread over rounds.
        limit: What the machine allows (value), what sets it (by), and how
            much of it ours reaches (share, 1 at most).
        goal: What is aimed at, and whether it is met.
        curve: x and one list for each side, for scaling.
        settings: Batch, lengths, dtype and the like.
        note: What else has to be known, or why there is no value.
        context: What all rows of a run share: machine, versions, date, ...
    """
    suite: str
    row: str
    unit: str
    better: str = 'higher'
    value: float | None = None
    spread: float | None = None
    rounds: int = 0
    peers: dict[str, dict] = field(default_factory=dict)
    limit: dict | None = None
    goal: dict | None = None
    curve: dict | None = None
    settings: dict = field(default_factory=dict)
    note: str | None = None
    context: dict = field(default_factory=dict)

    def to_json(self) -> str:
        """One line, the shared fields beside the row's own."""
        fields = asdict(self)
        fields.update(fields.pop('context'))
        return json.dumps(fields, default=str)


def summarize(record: Record, ours: Sample, peers: dict[str, Sample],
              limit: float | None = None, by: str = '') -> Record:
    """Fill in a record from samples that are all in its unit.

    Args:
        record: With its unit and which way is better.
        ours: Our values.
        peers: The peers', from the same rounds.
        limit: What the machine allows, in the same unit.
        by: What sets the limit.
    """
    record.value, record.spread = ours.median, ours.spread
    record.rounds = len(ours.values)
    for name, theirs in peers.items():
        ratio = (ours.over(theirs)
                 if record.better == 'higher' else theirs.over(ours))
        record.peers[name] = dict(
            value=theirs.median,
            spread=theirs.spread,
            ratio=ratio.median,
            ratio_spread=ratio.spread)
    if limit is not None:
        share = ours.median / limit
        if record.better == 'lower':
            share = limit / ours.median
        record.limit = dict(value=limit, by=by, share=share)
    return record


def rate(sample: Sample, amount: float) -> Sample:
    """Seconds to things a second."""
    return sample.map(lambda seconds: amount / seconds)


def limit_rate(limit: Limit, amount: float) -> tuple[float, str]:
    """A limit in things a second, and what sets it."""
    return amount / limit.seconds, limit.by


def judge(record: Record, goals: dict) -> None:
    """Say of each goal whether the record meets it.

    Args:
        record: A measured one.
        goals: Peer's name to the least ratio, ``value`` to the least (or
            most) value, ``near`` to a pair of bounds. Those whose peer was
            not measured are open: neither met nor missed.
    """
    if record.value is None or not goals:
        record.goal = dict(goals, met=None) if goals else None
        return
    met = []
    for name, wanted in goals.items():
        if name == 'near':
            met.append(wanted[0] <= record.value <= wanted[1])
        elif name == 'value':
            met.append(record.value >= wanted if record.better ==
                       'higher' else record.value <= wanted)
        elif name in record.peers:
            met.append(record.peers[name]['ratio'] >= wanted)
    record.goal = dict(goals, met=all(met) if met else None)


def read_lines(paths: Iterable[str | Path]) -> list[dict]:
    """The lines of result files; of rows measured again, the last.

    Raises:
        BenchmarkError: If a file is missing, or a line is no record.
    """
    found: dict[tuple, dict] = {}
    for path in map(Path, paths):
        try:
            text = path.read_text(encoding='utf-8')
        except OSError as error:
            raise BenchmarkError(f'{path} cannot be read: {error.strerror}. '
                                 'Write it by --out.') from error
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip():
                continue
            try:
                fields = json.loads(line)
                key = (fields['suite'], fields['row'], fields['dims'],
                       fields['machine']['cpu'], fields['machine']['gpu'])
                fields['unit'], fields['value'], fields['date']
            except (ValueError, KeyError, TypeError) as error:
                raise BenchmarkError(
                    f'{path}, line {number} is no record of a benchmark '
                    f'({error}). Measure anew.') from error
            found.pop(key, None)  # the last one's place is the last
            found[key] = fields
    return list(found.values())
