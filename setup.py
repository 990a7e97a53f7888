# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""What setup.cfg cannot say: which mmcv to ask for, the ``.mim`` folder, and
how the kernels for CPUs are compiled.

* MMPretrain needs ``mmcv``, and does not ask for it itself. Two packages
  provide it, the full ``mmcv`` (compiled) and ``mmcv-lite``; they own the
  same files, so one beside the other breaks both. ``mmcv-lite`` is all this
  package needs. It is asked for, unless a full one is there already: then
  that one is kept. ``MMPRETRAIN_MINIGPT4_MMCV`` set to ``lite``, ``full`` or
  ``none`` decides it by hand.
* ``configs/``, ``tools/`` and ``model-index.yml`` lie at the top of the
  repository. A wheel carries them as ``mmpretrain_minigpt4/.mim/``, where
  OpenMIM and this package's model zoo look; a checkout uses them in place.
* ``ops/native/src/`` is compiled once for each instruction set, by GCC or
  Clang with OpenMP. The library has no part of Python or PyTorch in it, and
  the package works without: where there is no such compiler, it is left out.
  ``MMPRETRAIN_MINIGPT4_KERNELS`` set to ``none`` leaves it out, and set to
  ``must`` makes that an error.
"""

import configparser
import os
import platform
import shutil
import site
import sys
import sysconfig
import zlib
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py
from setuptools.errors import CompileError

ROOT = Path(__file__).resolve().parent
PACKAGE = 'mmpretrain_minigpt4'
LITE = 'mmcv-lite>=2.2,<2.4'
# Each of these packages installs the full ``mmcv``.
FULL = {
    'mmcv': 'mmcv>=2.0,<2.4',
    'onedl-mmcv': 'onedl-mmcv',
}
KERNELS = f'{PACKAGE}.ops.native._kernels'
SOURCES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / PACKAGE / 'ops/native/src').glob('*.cpp'))
# How speed is measured and how the twin was made: no part of a wheel, nor are
# the scripts that import it.
GEAR = ('tools/benchmark', 'tools/tiny_twin', 'tools/make_tiny_twin.py',
        'tools/study_tiny_twin.py', 'tools/measure_')
FLAGS = ('-std=c++17', '-O3', '-g0', '-fno-exceptions', '-fno-rtti',
         '-fno-math-errno', '-fno-trapping-math', '-fvisibility=hidden',
         '-fopenmp', '-Wno-psabi')
# Of instruction sets, by the names under which library.py asks for them.
INSTRUCTIONS = {'baseline': ()}
if platform.machine().lower() in ('x86_64', 'amd64'):
    INSTRUCTIONS['avx2'] = '-mavx2', '-mfma'
    INSTRUCTIONS['avx512'] = ('-mavx512f', '-mavx512bw', '-mavx512dq',
                              '-mavx512vl', '-mfma')
    INSTRUCTIONS['avx512vnni'] = *INSTRUCTIONS['avx512'], '-mavx512vnni'


def target_folders() -> list[str]:
    """List the folders that hold what the target environment has.

    A build isolated by pip does not see them on ``sys.path``, but it runs
    the target's own interpreter, whose install paths are these.
    """
    paths = sysconfig.get_paths()
    folders = [paths['purelib'], paths['platlib']]
    marker = Path(sys.prefix, 'pyvenv.cfg')
    in_venv = sys.prefix != sys.base_prefix
    if in_venv and marker.is_file():
        text = marker.read_text(encoding='utf-8').lower()
        if 'include-system-site-packages = true' in text:
            base = {'base': sys.base_prefix, 'platbase': sys.base_prefix}
            paths = sysconfig.get_paths(vars=base)
            folders += [paths['purelib'], paths['platlib']]
    elif not in_venv:
        folders.append(site.getusersitepackages())
    return list(dict.fromkeys(folders))


def mmcv_requirement() -> list[str]:
    """Choose the requirement that gives ``import mmcv``."""
    choice = os.environ.get('MMPRETRAIN_MINIGPT4_MMCV', 'auto').lower()
    if choice == 'auto':
        for found in metadata.distributions(path=target_folders()):
            name = (found.metadata['Name'] or '').lower().replace('_', '-')
            if name in FULL:
                return [FULL[name]]
        return [LITE]
    choices = {'lite': [LITE], 'full': [FULL['mmcv']], 'none': []}
    if choice not in choices:
        raise SystemExit(
            f'MMPRETRAIN_MINIGPT4_MMCV={choice!r} has no meaning; give one '
            'of auto, lite, full, none.')
    return choices[choice]


def requirements() -> list[str]:
    """Join the requirements of setup.cfg and the choice of mmcv.

    setuptools does not merge the two: an argument of ``setup`` wins.
    """
    config = configparser.ConfigParser()
    config.read(ROOT / 'setup.cfg', encoding='utf-8')
    listed = config['options']['install_requires'].splitlines()
    return [line for line in listed if line.strip()] + mmcv_requirement()


class BuildWithMim(build_py):
    """Add ``.mim``, and drop what an earlier build left.

    pip builds in the checkout and leaves ``build/`` there; a module deleted
    since then would live on in the next wheel.
    """

    def run(self):
        editable = getattr(self, 'editable_mode', False)
        package = Path(self.build_lib, PACKAGE)
        if not editable:
            shutil.rmtree(package, ignore_errors=True)
        super().run()
        if not editable:
            for source, name in mim_files():
                target = package / '.mim' / name
                self.mkpath(str(target.parent))
                self.copy_file(str(source), str(target))


class BuildKernels(build_ext):
    """Compile the kernels for every instruction set into one library."""

    def get_ext_filename(self, fullname):
        # ctypes opens it, so that it serves every version of Python.
        suffix = '.dylib' if sys.platform == 'darwin' else '.so'
        return str(Path(*fullname.split('.'))) + suffix

    def build_extension(self, ext):
        if self.compiler.compiler_type != 'unix':
            raise CompileError('the kernels want GCC or Clang')

        def compile_for(name):
            return self.compiler.compile(
                ext.sources,
                output_dir=str(Path(self.build_temp, name)),
                macros=[('INSTRUCTIONS', name),
                        ('SOURCES', f'{checksum()}u')],
                extra_postargs=[*FLAGS, *INSTRUCTIONS[name]])

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            objects = list(pool.map(compile_for, INSTRUCTIONS))
        self.compiler.link_shared_object(
            sum(objects, []), self.get_ext_fullpath(ext.name),
            extra_postargs=['-fopenmp'], target_lang='c++')


def checksum() -> int:
    """A number for the sources, by which library.py knows an old build."""
    files = sorted((ROOT / PACKAGE / 'ops/native/src').glob('*.[ch]*'))
    return zlib.crc32(b''.join(path.read_bytes() for path in files))


class Wheel(bdist_wheel):
    """A wheel with a library in it that no version of Python is tied to."""

    def get_tag(self):
        *_, machine = super().get_tag()
        return 'py3', 'none', machine


def kernels() -> list[Extension]:
    """Choose whether the kernels are compiled, and whether they must be."""
    choice = os.environ.get('MMPRETRAIN_MINIGPT4_KERNELS', 'auto').lower()
    if choice not in ('auto', 'none', 'must'):
        raise SystemExit(
            f'MMPRETRAIN_MINIGPT4_KERNELS={choice!r} has no meaning; give '
            'one of auto, none, must.')
    if choice == 'none':
        return []
    return [Extension(KERNELS, SOURCES, optional=choice == 'auto')]


def mim_files() -> list[tuple[Path, str]]:
    """List the files of ``.mim`` with their names in it."""
    kinds = {
        'configs': ('.py', '.yml', '.md'),
        'tools': ('.py', '.sh'),
    }
    files = [(ROOT / 'model-index.yml', 'model-index.yml')]
    for folder, suffixes in kinds.items():
        for path in sorted((ROOT / folder).rglob('*')):
            name = path.relative_to(ROOT).as_posix()
            if (path.suffix in suffixes and path.is_file()
                    and not name.startswith(GEAR)):
                files.append((path, name))
    return files


setup(
    install_requires=requirements(),
    ext_modules=kernels(),
    cmdclass={
        'bdist_wheel': Wheel,
        'build_ext': BuildKernels,
        'build_py': BuildWithMim,
    })
