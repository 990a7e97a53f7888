# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""The compiled library, if this installation has one.

``setup.py`` compiles ``src/`` when the package is installed, once for each
instruction set, where it finds a C++ compiler. Without one all goes on in
PyTorch.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import sys
import zlib
from collections.abc import Callable
from ctypes import c_float, c_int, c_int64, c_uint32, c_void_p
from pathlib import Path

import torch

SUFFIX = '.dylib' if sys.platform == 'darwin' else '.so'
FILE = Path(__file__).with_name('_kernels' + SUFFIX)
# A checkout has them, an installed package does not.
SOURCES = Path(__file__).with_name('src')
# What PyTorch finds that this CPU can do, and the code for it, best first.
INSTRUCTIONS = {'AVX512': ('avx512vnni', 'avx512'), 'AVX2': ('avx2', )}
BASELINE = 'baseline'
# Of the numbers that it reads.
TYPES = (torch.float32, torch.bfloat16)
# Products below which a second thread costs more than it does.
MANY = 1 << 18
# The functions of src/ and their arguments.
FUNCTIONS = {
    'rms_norm': [*[c_void_p] * 3, c_float, *[c_int64] * 2,
                 *[c_void_p] * 2, *[c_int] * 2],
    'silu_mul': [c_void_p, *[c_int64] * 2, c_void_p, *[c_int] * 2],
    'int8_linear': [c_void_p, *[c_int64] * 3, *[c_void_p] * 3, c_float,
                    c_void_p, *[c_int] * 2, c_void_p],
    'int8_gemv': [c_void_p, *[c_int64] * 3, *[c_void_p] * 3,
                  *[c_int] * 2, c_void_p],
    'apply_rope_and_write': [*[c_void_p] * 7, *[c_int64] * 8, *[c_int] * 2],
    'decode_attention': [*[c_void_p] * 5, *[c_int64] * 2, c_void_p,
                         *[c_int64] * 8, c_float, *[c_int] * 2, c_void_p],
    'attention': [*[c_void_p] * 4, *[c_int64] * 6, *[c_void_p] * 2, c_float,
                  *[c_int] * 2, c_void_p],
}


@functools.cache
def instructions() -> str | None:
    """The instruction set whose code is used, or None without a library."""
    library = _open()
    if library is None:
        return None
    vnni, sources = c_int(), c_uint32()
    library.describe_baseline(ctypes.byref(sources), ctypes.byref(vnni))
    if SOURCES.is_dir() and sources.value != _checksum():
        logging.getLogger(__name__).warning(
            'The kernels for CPUs are not used: they were compiled from other '
            "sources than this checkout has. Compile them again: 'pip "
            "install -e .' or 'python setup.py build_ext --inplace'.")
        return None
    capability = torch.backends.cpu.get_cpu_capability()
    for name in INSTRUCTIONS.get(capability, ()):
        if hasattr(library, f'rms_norm_{name}') and (
                vnni.value or not name.endswith('vnni')):
            return name
    return BASELINE


@functools.cache
def function(name: str) -> Callable:
    """A function of the library, for this CPU.

    Args:
        name: One of ``FUNCTIONS``.
    """
    found = getattr(_open(), f'{name}_{instructions()}')
    found.argtypes = FUNCTIONS[name]
    found.restype = None
    return found


def run(name: str, what: str, *args) -> None:
    """Call a function that needs memory of its own.

    Args:
        name: One of ``FUNCTIONS`` whose last argument says whether it failed.
        what: It is for, for the error.
        args: The other arguments.

    Raises:
        MemoryError: If there is none.
    """
    failed = c_int()
    function(name)(*args, ctypes.addressof(failed))
    if failed.value:
        raise MemoryError(f'no memory for {what}')


def threads(work: int, least: int = MANY) -> int:
    """How many threads some work is worth: PyTorch's, or one."""
    return torch.get_num_threads() if work >= least else 1


def _checksum() -> int:
    """What setup.py has put into a library of these sources."""
    return zlib.crc32(b''.join(
        path.read_bytes() for path in sorted(SOURCES.glob('*.[ch]*'))))


@functools.cache
def _open() -> ctypes.CDLL | None:
    # PyTorch is imported above, so the library shares its OpenMP threads.
    try:
        return ctypes.CDLL(str(FILE))
    except OSError:
        return None
