# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Which room imports which, read from the code itself."""

import ast
import re
import sys
from collections import Counter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / 'mmpretrain_minigpt4'
NAME = PACKAGE.name
FILES = sorted(PACKAGE.rglob('*.py'))

PARTS = ('models.backbones', 'models.necks', 'models.heads')
# The rooms from the lowest up: a room imports those before it, never one
# after it, wherever the import stands.
ROOMS = ('errors', 'utils', 'assets', 'prompts', 'registry', 'images', 'ops',
         'checkpoints', 'zoo', 'benchmarks', 'llm', 'generation', 'features',
         'models', 'datasets', 'evaluation', 'engine', 'apis', 'serving',
         'cli', 'harnesses')
# What may be imported from elsewhere, beside the standard library.
OTHERS = {
    'errors': (),
    'prompts': (),
    'assets': (),
    'compat': (),
    'images': ('PIL', 'numpy'),
    'checkpoints': ('torch', 'safetensors', 'filelock', 'numpy',
                    'rich'),
    'ops': ('torch', 'triton'),
    'registry': ('mmengine', ),
    '': (),
}
DOORS = ('cli', 'serving', 'apis', 'harnesses')


def room_of(path):
    """Name a file's room: 'prompts', 'models.necks', '' for the package."""
    parts = path.relative_to(PACKAGE).with_suffix('').parts
    if parts[-1] == '__init__':
        parts = parts[:-1]
    return '.'.join(parts)


def imports_of(path, top_level=False):
    """Give the full names that a file imports, those for type hints aside.

    Args:
        path: The file.
        top_level: Leave out what only a call of a function imports.
    """
    tree = ast.parse(path.read_text(encoding='utf-8'))
    here = [NAME, *path.relative_to(PACKAGE).parent.parts]
    for node in _at_run_time(tree, top_level):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ''
            if node.level:
                above = here[:len(here) - node.level + 1]
                base = '.'.join([*above, base] if base else above)
            for alias in node.names:
                yield f'{base}.{alias.name}'


def _at_run_time(tree, top_level):
    queue = list(tree.body)
    while queue:
        node = queue.pop()
        if top_level and isinstance(
                node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if isinstance(node, ast.If) and 'TYPE_CHECKING' in ast.dump(node.test):
            continue
        yield node
        queue.extend(ast.iter_child_nodes(node))


def own(imported):
    """Cut an import to the name inside the package, or give None."""
    if imported == NAME or imported.startswith(f'{NAME}.'):
        return imported[len(NAME) + 1:]
    return None


def within(name, rooms):
    return any(name == room or name.startswith(f'{room}.') for room in rooms)


def belongs(room, rules):
    """Give the longest rule that a room falls under, or None."""
    found = [rule for rule in rules if within(room, [rule])]
    return max(found, key=len) if found else None


@pytest.mark.parametrize('path', FILES, ids=lambda p: room_of(p) or NAME)
def test_a_module_imports_only_rooms_below_its_own(path):
    top = room_of(path).partition('.')[0]
    # compat.py changes the toolbox when it is imported, and may reach up.
    if top in ('', 'compat', '__main__'):
        return
    for imported in imports_of(path):
        name = own(imported)
        if name not in (None, '', '__version__'):
            other = name.partition('.')[0]
            assert ROOMS.index(other) <= ROOMS.index(top), (
                f'{room_of(path)} imports {imported}')


@pytest.mark.parametrize('path', FILES, ids=lambda p: room_of(p) or NAME)
def test_a_room_imports_only_the_libraries_that_it_needs(path):
    room = room_of(path)
    allowed = OTHERS.get('' if not room else belongs(room, OTHERS))
    if allowed is None:
        return
    for imported in imports_of(path):
        outside = imported.partition('.')[0]
        if own(imported) is None and outside not in (
                *sys.stdlib_module_names, *allowed):
            # compat.py imports the toolbox, but only inside functions.
            assert room == 'compat', f'{room} imports {imported}'


def test_parts_never_import_each_other():
    for path in FILES:
        part = belongs(room_of(path), PARTS)
        if part is None:
            continue
        others = [other for other in PARTS if other != part]
        for imported in imports_of(path):
            assert not within(own(imported) or '', others), path


def test_the_whole_imports_no_part():
    for imported in imports_of(PACKAGE / 'models' / 'minigpt4.py'):
        assert not within(own(imported) or '', PARTS)


def test_nothing_inside_imports_a_door():
    for path in FILES:
        room = room_of(path)
        if within(room, DOORS) or room in ('compat', '__main__'):
            continue
        for imported in imports_of(path):
            assert not within(own(imported) or '', DOORS), path


def test_what_every_import_needs_is_light():
    # With torch or the toolbox at the top of one of these, `minigpt4 --help`
    # would take seconds.
    seen = set()
    queue = ['', 'compat', 'cli', 'cli.main', 'zoo', 'checkpoints.download']
    while queue:
        room = queue.pop()
        if room in seen:
            continue
        seen.add(room)
        base = PACKAGE.joinpath(*room.split('.')) if room else PACKAGE
        path = base / '__init__.py' if base.is_dir() else base.with_suffix(
            '.py')
        if not path.is_file():
            continue
        for imported in imports_of(path, top_level=True):
            name = own(imported)
            if name is None:
                outside = imported.partition('.')[0]
                assert outside in sys.stdlib_module_names, (room, imported)
                continue
            steps = name.split('.')
            queue += ['.'.join(steps[:i]) for i in range(1, len(steps) + 1)]


def test_files_are_short_and_carry_their_licence():
    for path in FILES:
        lines = path.read_text(encoding='utf-8').splitlines()
        assert lines[1] == '# SPDX-License-Identifier: Apache-2.0', path
        assert len(lines) <= 400, path


def test_no_circle_among_modules():
    modules = {room_of(path) for path in FILES}
    arrows = {}
    for path in FILES:
        # compat.py changes the toolbox, and may reach up from a function.
        if room_of(path) in ('', 'compat'):
            continue
        names = {own(imported) for imported in imports_of(path)} - {None}
        arrows[room_of(path)] = {
            name if name in modules else name.rpartition('.')[0]
            for name in names}
    while True:
        # A module that imports none of the rest, or that none of it imports,
        # is in no circle.
        given = set().union(*arrows.values())
        free = {module for module, others in arrows.items()
                if not others & arrows.keys() or module not in given}
        if not free:
            break
        for module in free:
            del arrows[module]
    assert not arrows, {
        module: sorted(others & arrows.keys())
        for module, others in arrows.items()}


def test_nothing_public_is_called_by_tests_alone():
    root = PACKAGE.parent
    sources = [
        *FILES, *(root / 'tools').rglob('*.py'),
        *(root / 'configs').rglob('*.py'), root / 'setup.py',
        root / 'setup.cfg', *(root / 'docs').glob('*.md'), root / 'README.md']
    words = {path: Counter(re.findall(r'\w+', code_of(path)))
             for path in sources}
    total = sum(words.values(), Counter())
    for path in FILES:
        for node in ast.parse(path.read_text(encoding='utf-8')).body:
            if not isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                continue
            name = node.name
            if not name.startswith('_') and not node.decorator_list:
                exports = sum(words[other][name] for other in FILES
                              if other.name == '__init__.py' != path.name)
                assert total[name] - exports > 1, f'{path}: {name}'


def code_of(path):
    """A file's text; without docstrings, if it is a Python file."""
    text = path.read_text(encoding='utf-8')
    if path.suffix != '.py':
        return text
    return re.sub(r'"""(?:.|\n)*?"""', '', text)


@pytest.mark.parametrize('path', FILES, ids=lambda p: room_of(p) or NAME)
def test_a_docstring_refers_to_what_is_there(path):
    text = path.read_text(encoding='utf-8')
    for name in re.findall(r'``([\w/]+\.py)``', text):
        places = (path.parent, PACKAGE, PACKAGE.parent)
        assert any((place / name).is_file() for place in places), name
    pattern = r':(?:mod|func|class|meth|data):`~?(\.+)([\w.]+)`'
    for dots, target in re.findall(pattern, text):
        folder = path.parents[len(dots) - 1]
        found = folder / '__init__.py'
        for part in target.split('.'):
            if (folder / part).is_dir():
                folder /= part
                found = folder / '__init__.py'
            elif (folder / f'{part}.py').is_file():
                found = folder / f'{part}.py'
            else:
                # A name in what was found last; of a class, its members too.
                words = re.findall(r'\w+', found.read_text(encoding='utf-8'))
                assert part in words, f'{dots}{target}'
