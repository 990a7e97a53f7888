# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Files that ship inside the package, addressed as ``asset://NAME``.

A config that names the tiny twin's weights must work from a checkout and
from a wheel alike, and must not carry a path of the machine it was dumped on.
"""

from pathlib import Path

from ..errors import MissingWeightsError

PREFIX = 'asset://'


def resolve(path: str) -> str:
    """Turn an ``asset://`` address into a file-system path.

    Args:
        path: Any path; one without the prefix is returned unchanged.

    Raises:
        MissingWeightsError: If no such asset is in the package.
    """
    if not path.startswith(PREFIX):
        return path
    root = Path(__file__).resolve().parent
    found = (root / path[len(PREFIX):]).resolve()
    if root not in found.parents or not found.exists():
        raise MissingWeightsError(
            f'{path!r} is not part of this package. It ships '
            f'{sorted(p.name for p in root.iterdir() if p.is_dir())}; '
            're-install the package if one of those was meant.')
    return str(found)
