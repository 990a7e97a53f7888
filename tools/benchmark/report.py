# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Records as tables: on the terminal, and in docs/benchmarks.md."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from mmpretrain_minigpt4.errors import BenchmarkError

BEGIN = '<!-- results: written by tools/benchmark.py --write-docs -->'
END = '<!-- end of results -->'


def number(value: float | None) -> str:
    """Three digits that count, with thousands set apart."""
    if value is None:
        return '-'
    if abs(value) >= 100:
        return f'{value:,.0f}'
    if abs(value) >= 10:
        return f'{value:.1f}'
    return f'{value:.3f}' if abs(value) < 1 else f'{value:.2f}'


def table(lines: Iterable[dict]) -> str:
    """A Markdown table of records as JSON gives them.

    Spreads are half of the range that holds the middle half of all rounds.
    """
    lines = list(lines)
    peers = sorted({peer for line in lines for peer in line['peers']})
    head = ['row', 'ours', *(x for peer in peers
                             for x in (peer, f'ratio to {peer}')),
            'limit', 'share of it', 'goal']
    rows = [head]
    for line in lines:
        if line['value'] is None:
            rows.append([line['row'], line['note'] or 'not measured'] +
                        ['-'] * (len(head) - 2))
            continue
        row = [line['row'], f'{_spread(line)} {line["unit"]}']
        for peer in peers:
            found = line['peers'].get(peer)
            row += ([_spread(found), f'{found["ratio"]:.2f}x']
                    if found else ['-', '-'])
        limit = line['limit']
        row += ([f'{number(limit["value"])} ({limit["by"]})',
                 f'{limit["share"]:.0%}'] if limit else ['-', '-'])
        rows.append([*row, _goal(line)])
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    rows.insert(1, ['-' * width for width in widths])
    return '\n'.join('| ' + ' | '.join(
        cell.ljust(width)
        for cell, width in zip(row, widths, strict=True)) + ' |'
                     for row in rows)


def machine_line(lines: Sequence[dict]) -> str:
    """What records were measured on, in one sentence each.

    Args:
        lines: Of one machine. The commands of all are told; the rest is that
            of the last, which knows the ceilings of all types.
    """
    line = lines[-1]
    machine, versions = line['machine'], line['versions']
    aside = versions.get('P3')
    hardware = machine['gpu'] or (
        f'{machine["cpu"]}, {machine["cores"]} cores '
        f'({", ".join(machine["flags"])}), {line["threads"]} '
        f'thread{"s" if line["threads"] > 1 else ""}')
    if machine.get('kernels') and not machine['gpu']:
        hardware += f', kernels for {machine["kernels"]}'
    software = ', '.join(
        f'{name} {version}' for name, version in versions.items()
        if name in ('python', 'torch', 'cuda', 'transformers', 'torchao'))
    if aside:
        software += f' (P3: transformers {aside["transformers"]})'
    ceilings = '; '.join(
        f'{name} products {found["flops"] / 1e9:,.0f} GFLOP/s, memory '
        f'{found["bandwidth"] / 1e9:,.0f} GB/s'
        for name, found in line['ceilings'].items())
    equal = line['equality'] or {}
    text = (f'Size {line["dims"]}, {hardware}; {software}; '
            f'{line["clock"]}; {line["date"][:10]}. ')
    if ceilings:
        text += f'Ceilings: {ceilings}. '
    if 'logits' in equal:
        text += ('Logits after given tokens differ from P1 by '
                 f'{equal["logits"]:.0e} of their size. ')
    commands = list(dict.fromkeys(f'`{one["command"]}`' for one in lines))
    plural = 's' if len(commands) > 1 else ''
    return text + f'Command{plural}: {", ".join(commands)}.'


def render(lines: Iterable[dict], plots: dict[str, str] | None = None
           ) -> str:
    """All records, a table for each suite, size and machine.

    Args:
        lines: As JSON gives them.
        plots: Row's name to the path of its picture.
    """
    groups: dict[tuple, list[dict]] = {}
    for line in lines:
        machine = line['machine']
        key = (line['suite'], line['dims'], machine['gpu'] or machine['cpu'])
        groups.setdefault(key, []).append(line)
    parts = []
    for (suite, dims, where), members in sorted(groups.items()):
        quick = ' (quick: rough numbers)' if any(
            x['quick'] for x in members) else ''
        parts += [f'### {suite}, {dims}, {where}{quick}',
                  machine_line(members), table(members)]
        notes = [
            f'* {x["row"]}: {x["note"]}.' for x in members
            if x['note'] and x['value'] is not None
        ]
        if notes:
            parts.append('\n'.join(notes))
        for line in members:
            if plots and line['row'] in plots:
                parts.append(f'![{line["row"]}]({plots[line["row"]]})')
    return '\n\n'.join(parts)


def write_docs(page: Path, lines: Iterable[dict], folder: Path) -> None:
    """Replace the results of a page, all between its two marks.

    Args:
        page: A Markdown file that holds both marks.
        lines: Records as JSON gives them.
        folder: Beside the page, for pictures.

    Raises:
        BenchmarkError: If the page is missing or lacks its marks.
    """
    from .plots import plot_all
    lines = list(lines)
    if not lines:
        raise BenchmarkError('There are no records to write. Measure first: '
                             'tools/benchmark.py --suite cpu --out FILE.')
    try:
        text = page.read_text(encoding='utf-8')
    except OSError as error:
        raise BenchmarkError(
            f'{page} cannot be read: {error.strerror}.') from error
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise BenchmarkError(f'{page} must hold the lines {BEGIN!r} and '
                             f'{END!r} once each, for the results between.')
    plots = {
        row: path.relative_to(page.parent).as_posix()
        for row, path in plot_all(lines, folder).items()
    }
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    text = f'{before}{BEGIN}\n\n{render(lines, plots)}\n\n{END}{after}'
    handle, name = tempfile.mkstemp(dir=page.parent, prefix=page.name)
    try:
        with os.fdopen(handle, 'w', encoding='utf-8') as file:
            file.write(text)
        os.chmod(name, page.stat().st_mode)
        os.replace(name, page)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _spread(found: dict) -> str:
    if found['spread'] is None:
        return number(found['value'])
    return f'{number(found["value"])} ±{found["spread"]:.0%}'


def _goal(line: dict) -> str:
    goal = dict(line['goal'] or {})
    met = goal.pop('met', None)
    if not goal:
        return '-'
    sign = '>=' if line['better'] == 'higher' else '<='
    words = []
    for name, wanted in goal.items():
        if name == 'near':
            low, high = wanted
            words.append(f'{low:g} to {high:g}' if low >= 0 else
                         f'<= {high:g}')
        elif name == 'value':
            words.append(f'{sign} {number(wanted)}')
        elif name == 'occupancy':
            words.append(f'slots busy >= {wanted:.0%}')
        else:
            words.append(f'>= {wanted:g}x {name}')
    told = {True: 'met', False: '**missed**', None: 'open'}[met]
    return f'{", ".join(words)}: {told}'
