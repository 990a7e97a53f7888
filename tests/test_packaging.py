# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""What a wheel holds and asks for, and what README promises."""

import configparser
import ctypes
import os
import platform
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

import mmpretrain_minigpt4

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / 'README.md').read_text(encoding='utf-8')
TINY = Path(mmpretrain_minigpt4.__file__).parent / 'assets' / 'tiny'

needs_tiny = pytest.mark.skipif(
    not (TINY / 'projection.safetensors').is_file(),
    reason='the weights of the tiny twin are not in this copy')


@pytest.fixture(scope='module')
def build(tmp_path_factory):
    """Run setup.py on a copy, in the environment of the tests."""
    folder = tmp_path_factory.mktemp('build')
    copy = folder / 'copy'
    ignored = {'.git', '.venv', 'build', 'work_dirs', '.pytest_cache'}
    files = [
        path for path in ROOT.rglob('*')
        if path.is_file() and not ignored & set(path.relative_to(ROOT).parts)
        and '__pycache__' not in path.parts
        and not any(part.endswith('.egg-info') for part in path.parts)
        and path.stem != '_kernels'
    ]
    for path in files:
        target = copy / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())

    def run(*words, **environment):
        # Kernels take seconds to compile.
        environment = {'MMPRETRAIN_MINIGPT4_KERNELS': 'none', **environment}
        done = subprocess.run([sys.executable, 'setup.py', *words],
                              cwd=copy, capture_output=True, text=True,
                              env={**os.environ, **environment}, check=False)
        return done, copy

    return run


def test_a_build_holds_everything_that_is_needed_outside(build):
    done, copy = build('--quiet', 'build')
    assert done.returncode == 0, done.stderr
    package = copy / 'build' / 'lib' / 'mmpretrain_minigpt4'
    mim = package / '.mim'
    found = {path.relative_to(mim).as_posix()
             for path in mim.rglob('*') if path.is_file()}
    assert {x for x in found if x.startswith('configs/')} == {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / 'configs').rglob('*')
        if path.suffix in ('.py', '.yml', '.md')
    }
    # Neither what measures speed nor what makes the tiny twin.
    assert {x for x in found if x.startswith('tools/')} == {
        f'tools/{name}' for name in (
            'convert_checkpoint.py', 'dist_test.sh', 'dist_train.sh',
            'plot_loss.py', 'test.py', 'train.py')
    }
    assert (mim / 'model-index.yml').is_file()
    for part in (ROOT / 'mmpretrain_minigpt4').rglob('*'):
        if part.is_file() and not {'__pycache__', 'src'} & set(part.parts) \
                and part.stem != '_kernels':
            inner = part.relative_to(ROOT / 'mmpretrain_minigpt4')
            assert (package / inner).is_file(), inner


def test_a_second_build_drops_what_was_deleted(build):
    _, copy = build('--quiet', 'build')
    stale = copy / 'build' / 'lib' / 'mmpretrain_minigpt4' / 'stale.py'
    stale.write_text('')
    build('--quiet', 'build')
    assert not stale.exists()


@pytest.mark.parametrize('choice, expected', [
    ('lite', 'mmcv-lite<2.4,>=2.2'),
    ('full', 'mmcv<2.4,>=2.0'),
    ('none', None),
])
def test_the_choice_of_mmcv_can_be_forced(choice, expected, build):
    done, copy = build('--quiet', 'egg_info', MMPRETRAIN_MINIGPT4_MMCV=choice)
    assert done.returncode == 0, done.stderr
    text = (copy / 'mmpretrain_minigpt4.egg-info' /
            'requires.txt').read_text()
    found = [line for line in text.splitlines() if line.startswith('mmcv')]
    assert found == ([expected] if expected else [])


@pytest.mark.parametrize('what, known', [
    ('MMCV', 'lite, full, none'), ('KERNELS', 'auto, none, must')])
def test_a_choice_without_meaning_is_refused(build, what, known):
    done, _ = build('--quiet', 'egg_info',
                    **{f'MMPRETRAIN_MINIGPT4_{what}': 'big'})
    assert done.returncode != 0 and known in done.stderr


def test_without_a_compiler_kernels_are_left_out_unless_they_must_be(build):
    for choice, good in ('auto', True), ('must', False):
        done, copy = build('build_ext', CC='no-such-compiler',
                           CXX='no-such-compiler',
                           MMPRETRAIN_MINIGPT4_KERNELS=choice)
        assert (done.returncode == 0) == good
        assert 'no-such-compiler' in done.stderr + done.stdout
        assert not list((copy / 'build').rglob('_kernels.*'))


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which('c++'), reason='there is no compiler')
def test_kernels_are_compiled_for_every_instruction_set(build):
    done, copy = build('build_ext', MMPRETRAIN_MINIGPT4_KERNELS='must')
    assert done.returncode == 0, done.stderr
    library, = (copy / 'build').rglob('_kernels.*')
    assert library.parent.name == 'native'
    found = ctypes.CDLL(str(library))
    names = ['baseline']
    if platform.machine() in ('x86_64', 'AMD64'):
        names += ['avx2', 'avx512', 'avx512vnni']
    for name in names:
        assert hasattr(found, f'attention_{name}')
    assert 'warning' not in done.stderr


def requirement_after_install(python, copy, **environment):
    """Install without dependencies, as pip does; give the mmcv it wants."""
    subprocess.run([python, '-m', 'pip', 'install', '--quiet', '--no-deps',
                    str(copy)], check=True, capture_output=True, text=True,
                   env={**os.environ, **environment})
    show = ('from importlib.metadata import requires; '
            'print([x for x in requires("mmpretrain-minigpt4") '
            'if x.startswith("mmcv")])')
    done = subprocess.run([python, '-c', show], check=True,
                          capture_output=True, text=True)
    return done.stdout.strip()


@pytest.mark.slow
def test_a_full_mmcv_that_is_there_is_kept(build, tmp_path):
    # The full mmcv takes long to compile: a stand-in that holds no more
    # than its name and version is what the install looks at.
    _, copy = build('--quiet', 'egg_info')
    venv.create(tmp_path / 'env', with_pip=True)
    python = str(tmp_path / 'env' / 'bin' / 'python')
    assert requirement_after_install(
        python, copy) == "['mmcv-lite<2.4,>=2.2']"
    site, = (tmp_path / 'env').glob('lib/python3*/site-packages')
    info = site / 'mmcv-2.2.0.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text(
        'Metadata-Version: 2.1\nName: mmcv\nVersion: 2.2.0\n')
    (info / 'INSTALLER').write_text('pip\n')
    (info / 'RECORD').write_text('')
    assert requirement_after_install(python, copy) == "['mmcv<2.4,>=2.0']"


@pytest.mark.slow
def test_a_wheel_is_built_as_pip_builds_it(build, tmp_path):
    _, copy = build('--quiet', 'egg_info')
    subprocess.run([sys.executable, '-m', 'pip', 'wheel', '--quiet',
                    '--no-deps', '-w', str(tmp_path), str(copy)], check=True,
                   capture_output=True, text=True)
    wheel, = tmp_path.glob('*.whl')
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        text = archive.read(next(
            x for x in names if x.endswith('entry_points.txt'))).decode()
    assert 'minigpt4 = mmpretrain_minigpt4.cli:main' in text
    assert 'mmpretrain_minigpt4/.mim/model-index.yml' in names
    assert not [x for x in names if x.startswith(('tests/', 'tools/'))]
    assert any(x.endswith('LICENSE') for x in names)


def test_the_package_is_small_enough_to_ship():
    size = sum(x.stat().st_size for x in TINY.rglob('*') if x.is_file())
    assert size <= 12 * 1024**2


def test_readme_has_the_two_commands_that_are_checked():
    for number in ('1', '2'):
        block = re.search(
            rf'<!-- command {number} -->\n```bash\n(.+?)```\n<!-- end -->',
            README, re.S)
        assert block, f'command {number}'
    assert 'minigpt4 caption demo/scene.png' in README


def test_readme_names_only_files_that_exist():
    links = re.findall(r'\]\((?!https?:)([^)#]+)\)', README)
    named = re.findall(r'(?:configs|tools|tests|docs)/[\w./-]+\w', README)
    for name in {*links, *named}:
        assert (ROOT / name).exists(), name


def test_readme_has_the_parameters_of_the_zoo():
    from mmpretrain_minigpt4.apis import list_entries
    for entry in list_entries():
        name = entry.name.rpartition('_')[0]
        row = next(x for x in README.splitlines() if f'| `{name}`' in x)
        assert f'{entry.parameters:,}' in row, name


@needs_tiny
def test_the_four_lines_of_readme_print_what_it_says(monkeypatch, capsys):
    block = re.search(r'<!-- python -->\n```python\n(.+?)```.+?'
                      r'```text\n(.+?)```\n<!-- end -->', README, re.S)
    monkeypatch.chdir(ROOT)
    exec(compile(block[1], 'README.md', 'exec'), {})
    lines = [x.strip() for x in capsys.readouterr().out.splitlines()]
    for line in block[2].splitlines():
        assert line in lines


def test_settings_name_the_versions_that_work_together():
    config = configparser.ConfigParser()
    config.read(ROOT / 'setup.cfg', encoding='utf-8')
    wanted = config['options']['install_requires'].split()
    for pin in ('torch>=2.10,<2.14', 'torchvision>=0.25,<0.29',
                'mmengine>=0.10.7,<0.11', 'mmpretrain>=1.2,<2',
                'transformers>=5,<6', 'setuptools<82'):
        assert pin in wanted
