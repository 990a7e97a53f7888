# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""One HTML file with images, questions, answers, and what was right."""

import base64
import io
import os
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from PIL import Image

from ...errors import MiniGPT4Error
from ...images import load_image
from .page import PAGE, SCRIPT, STYLE
from .scoring import result_of

SIDE = 160  # pixels of the longer side of a thumbnail
BRIEF = 60  # characters of an answer that is set in bold letters
SHOWN = 600  # samples; more make the page slow
CATEGORIES = ('kind', 'category', 'task', 'subject', 'question_type',
              'answer_type', 'relation', 'capability', 'domain')
ANSWERS = ('pred_caption', 'pred_answer', 'pred_text')
TARGETS = ('gt_caption', 'gt_answer', 'gt_text')
# In the order of the columns of buttons; what a card is called.
MARKS = dict(right='right', wrong='wrong', unread='not understood',
             open='not judged')
# Too long for the table at the top.
LONG = ('failures', 'not_extracted', 'metrics')
# What one needs to judge the scores; the rest, to repeat them, is folded.
MAIN = ('samples', 'prompt', 'question_template', 'decoding', 'extraction',
        'published', 'precision', 'images_per_second')


def write_report(path: str | Path, summary: Mapping[str, Any],
                 records: Sequence[dict], found: Mapping[tuple, dict],
                 get_item: Callable[[int], Mapping],
                 shown: int = SHOWN) -> None:
    """Write the report as a whole.

    Args:
        path: The file.
        summary: See :func:`~.summary.make_summary`.
        records: All samples.
        found: See :func:`~.scoring.per_sample_results`.
        get_item: The data set's entry of an index, with ``img`` or
            ``img_path``.
        shown: At most so many samples, evenly spread over all.
    """
    answered = [x for x in records if 'failed' not in x]
    some = answered
    if len(answered) > shown:
        some = [answered[i * len(answered) // shown] for i in range(shown)]
    thumbnails = Thumbnails(get_item)
    groups: dict[str, list[tuple[str, str]]] = {}
    for record in some:
        verdict = result_of(record, found)
        mark = _mark(verdict)
        card = _card(record, verdict, mark, thumbnails(record['index']))
        groups.setdefault(_category(record, verdict), []).append((mark, card))
    note = f'{len(some):,} of {len(records):,} samples are shown'
    note += ', evenly spread.' if len(some) < len(answered) else '.'
    html = PAGE.format(
        title=_text(summary['benchmark']),
        style=STYLE,
        script=SCRIPT,
        tables=_table('score', summary['metrics']) + _facts(summary),
        note=note,
        failures=_failures(summary.get('failures') or ()),
        buttons=_buttons([m for cards in groups.values() for m, _ in cards]),
        groups='\n'.join(
            _group(name, cards, len(groups) == 1 or i == 0)
            for i, (name, cards) in enumerate(sorted(groups.items()))))
    path = Path(path)
    partial = path.with_name(path.name + '.part')
    partial.write_text(html, encoding='utf-8', errors='replace')
    os.replace(partial, path)


class Thumbnails:
    """Small images as data URIs, the last one remembered.

    Questions about one image mostly follow each other.
    """

    def __init__(self, get_item: Callable[[int], Mapping]) -> None:
        self.get_item = get_item
        self._last: tuple[Any, str] = (None, '')

    def __call__(self, index: int) -> str:
        """The image of a sample; an empty string if it cannot be read."""
        try:
            item = self.get_item(index)
            name = item.get('img_path') or item.get('image_id')
            if name is not None and name == self._last[0]:
                return self._last[1]
            source = item.get('img')
            if source is None:
                source = item['img_path']
            image = load_image(source)
        except (MiniGPT4Error, OSError, KeyError):
            return ''
        image.thumbnail((SIDE, SIDE), Image.Resampling.BICUBIC)
        buffer = io.BytesIO()
        image.convert('RGB').save(buffer, 'JPEG', quality=80)
        data = base64.b64encode(buffer.getvalue()).decode()
        self._last = (name, f'data:image/jpeg;base64,{data}')
        return self._last[1]


def _mark(verdict: Mapping) -> str:
    if 'extracted' in verdict and verdict['extracted'] is None:
        return 'unread'
    if 'right' not in verdict:
        return 'open'
    return 'right' if verdict['right'] else 'wrong'


def _category(record: Mapping, verdict: Mapping) -> str:
    for source in (verdict, record):
        for key in CATEGORIES:
            if source.get(key) not in (None, ''):
                return str(source[key])
    return 'all'


def _card(record: Mapping, verdict: Mapping, mark: str, image: str) -> str:
    lines = []
    question = record.get('question') or record.get('prompt')
    if isinstance(question, str):
        lines.append(f'<p>{_text(question)}</p>')
    for number, choice in enumerate(record.get('choices') or ()):
        lines.append(f'<p>{chr(ord("A") + number)}. {_text(choice)}</p>')
    answer = next((record[k] for k in ANSWERS if k in record), '')
    # Whole paragraphs of bold letters are hard to read.
    tag = 'b' if len(str(answer)) <= BRIEF else 'span'
    lines.append(f'<p class="answer"><{tag}>{_text(answer)}</{tag}></p>')
    if verdict.get('extracted') not in (None, answer):
        lines.append(f'<p>read as: {_text(verdict["extracted"])}</p>')
    target = next((record[k] for k in TARGETS if record.get(k)
                   not in (None, '')), None)
    if target is not None:
        choices = record.get('choices')
        if isinstance(target, int) and choices and target < len(choices):
            target = f'{chr(ord("A") + target)}. {choices[target]}'
        if isinstance(target, (list, tuple)):
            target = '\n'.join(dict.fromkeys(map(str, target)))
        lines.append(f'<p>expected: {_text(target)}</p>')
    for key in ('hallucinated', 'missed', 'reason'):
        if verdict.get(key):
            value = verdict[key]
            value = ', '.join(map(str, value)) if isinstance(
                value, (list, tuple)) else value
            lines.append(f'<p>{key}: {_text(value)}</p>')
    name = record.get('question_id', record.get('image_id', record['index']))
    picture = f'<img src="{image}" alt="" loading="lazy">' if image else ''
    return (f'<div class="card {mark}">{picture}<div>'
            f'<span class="mark">{MARKS[mark]}</span> '
            f'<small>{_text(name)}</small>{"".join(lines)}</div></div>')


def _group(name: str, cards: Sequence[tuple[str, str]], is_open: bool) -> str:
    judged = [mark for mark, _ in cards if mark != 'open']
    right = judged.count('right')
    share = f'{right:,} of {len(judged):,} right' if judged else (
        f'{len(cards):,}')
    body = '\n'.join(card for _, card in cards)
    return (f'<details class="group"{" open" if is_open else ""}><summary>'
            f'{_text(name)}: {share}</summary>\n<div class="cards">\n{body}\n'
            '</div></details>')


def _buttons(marks: Sequence[str]) -> str:
    kinds = [('', f'all {len(marks):,}')] + [
        (mark, f'{name} {marks.count(mark):,}')
        for mark, name in MARKS.items() if mark in marks
    ]
    return '\n'.join(
        f'<button type="button" data-kind="{kind}" aria-pressed='
        f'"{str(not kind).lower()}">{name}</button>' for kind, name in kinds)


def _table(title: str, values: Mapping[str, Any]) -> str:
    rows = ''.join(
        f'<tr><td>{_text(key)}</td><td class="n">{_text(_number(value))}</td>'
        '</tr>' for key, value in values.items())
    return f'<table><tr><th>{title}</th><th></th></tr>{rows}</table>'


def _facts(summary: Mapping[str, Any]) -> str:
    main, rest = [], []
    for key, value in summary.items():
        if key in LONG or value is None or value == {}:
            continue
        if isinstance(value, Mapping):
            value = ', '.join(f'{k} {_number(v)}' for k, v in value.items()
                              if v is not None)
        (main if key in MAIN else rest).append(
            f'<tr><td>{_text(key)}</td><td>{_text(_number(value))}</td></tr>')
    return (
        f'<div><table><tr><th>run</th><th></th></tr>{"".join(main)}</table>\n'
        '<details><summary>weights, versions, times</summary>'
        f'<table>{"".join(rest)}</table></details></div>')


def _failures(failures: Sequence[Mapping]) -> str:
    if not failures:
        return ''
    rows = ''.join(f'<li>{_text(x["id"])}: {_text(x["reason"])}</li>'
                   for x in failures)
    return (f'<details><summary>{len(failures):,} samples could not be '
            f'answered</summary><ul>{rows}</ul></details>')


def _number(value: Any) -> Any:
    return f'{value:,.2f}' if isinstance(value, float) else value


def _text(value: Any) -> str:
    return escape(str(value))
