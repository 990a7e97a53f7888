# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The benchmarks' configs, and what their first lines say.

Read as text, so that a list of all costs no import of the toolbox.
"""

import ast
import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from .errors import ConfigError
from .zoo import root

# "Files: ..." at the start of a line, up to the next such word.
_NOTE = re.compile(r'^([A-Z][a-z]+):[ \n]', re.M)


@dataclass(frozen=True)
class Benchmark:
    """A benchmark, as its config describes it.

    Attributes:
        name: The config's name, without ``.py``.
        title: What it measures.
        task: ``describe``, ``answer``, or both.
        metrics: Names of the metrics' classes.
        notes: ``Files``, ``Layout``, ``Prompt``, ``Decoding``,
            ``Extraction``, ``Samples``, ``Published``, ``Hardware`` and
            ``Expected``, each in one line.
        config: The file.
    """

    name: str
    title: str
    task: str
    metrics: tuple[str, ...]
    notes: dict[str, str]
    config: Path


def list_benchmarks() -> list[Benchmark]:
    """Read all benchmarks of this package, by name."""
    return [read_benchmark(path) for path in sorted(_folder().glob('*.py'))]


def find_benchmark(name: str) -> Benchmark:
    """Find a benchmark by its name, or by the path of its config.

    Raises:
        ConfigError: If there is none; near names are given.
    """
    path = _folder() / f'{name.removesuffix(".py")}.py'
    if '/' not in name and path.is_file():
        return read_benchmark(path)
    if name.endswith('.py') and Path(name).is_file():
        return read_benchmark(Path(name))
    known = [x.stem for x in sorted(_folder().glob('*.py'))]
    near = get_close_matches(name, known, n=3)
    near = near or [x for x in known if x.startswith(name)]
    hint = f' Near ones: {", ".join(near)}.' if near else ''
    raise ConfigError(f'There is no benchmark {name!r}.{hint} `minigpt4 eval '
                      '--list` shows all; a config file is taken as well.')


def read_benchmark(path: str | Path) -> Benchmark:
    """Read the first lines of a config, and which metrics it names."""
    path = Path(path)
    text = path.read_text(encoding='utf-8')
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        raise ConfigError(f'{path}: {error}') from error
    title, notes = _notes(ast.get_docstring(tree) or '')
    base = ast.dump(_value(tree, '_base_') or ast.Constant(''))
    task = ('describe' if 'captions.py' in base else
            'answer' if 'questions.py' in base else 'describe, answer')
    evaluator = _value(tree, 'test_evaluator')
    metrics = [] if evaluator is None else [
        str(keyword.value.value).rpartition('.')[2]
        for call in ast.walk(evaluator) if isinstance(call, ast.Call)
        for keyword in call.keywords
        if keyword.arg == 'type' and isinstance(keyword.value, ast.Constant)
        and str(keyword.value.value).startswith(__package__)
    ]
    return Benchmark(path.stem, title, task, tuple(metrics), notes, path)


def _folder() -> Path:
    return root() / 'configs' / 'minigpt4' / 'benchmarks'


def _value(tree: ast.Module, name: str) -> ast.expr | None:
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(
                isinstance(x, ast.Name) and x.id == name
                for x in node.targets):
            return node.value
    return None


def _notes(text: str) -> tuple[str, dict[str, str]]:
    title = text.partition('\n')[0].strip().removesuffix('.')
    marks = list(_NOTE.finditer(text))
    if not marks:  # not one of the benchmarks' configs
        return title, {}
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    return title, {
        mark.group(1): ' '.join(text[mark.end():end].split())
        for mark, end in zip(marks, ends, strict=True)
    }
