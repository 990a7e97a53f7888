# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""What loading checkpoints did, tensor by tensor."""

from collections import Counter
from dataclasses import dataclass, field

PARTS = ('backbone.ln_vision', 'backbone', 'neck', 'projector', 'head.llm')


def part_of(key: str) -> str:
    """The part of the model to which a native name belongs."""
    return next((part for part in PARTS if key.startswith(part + '.')), key)


@dataclass
class LoadReport:
    """Where each tensor of a model came from, and what did not fit.

    Attributes:
        files: Each file to the name of its layout, in the order given.
        sources: Native name to (file, key in that file).
        dropped: Each file to its keys that MiniGPT-4 has no use for.
        replaced: Native names that a later file gave again; the later won.
        skipped: Native names of a part that this model does not have, such
            as the Q-Former of a BLIP-2 file in the Llama-2 variant.
        resized: Native names of positions stretched to another image size.
        left: Names that no file holds, and that were allowed to be missing.
        missing: Names that no file holds.
        unexpected: Native names that the model does not have.
        wrong_shapes: (name, shape in the file, shape in the model).
    """
    files: dict[str, str] = field(default_factory=dict)
    sources: dict[str, tuple[str, str]] = field(default_factory=dict)
    dropped: dict[str, list[str]] = field(default_factory=dict)
    replaced: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    resized: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    wrong_shapes: list[tuple[str, tuple[int, ...],
                             tuple[int, ...]]] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether the files fit the model."""
        return not (self.missing or self.unexpected or self.wrong_shapes)

    def __str__(self) -> str:
        """A table with a row for each part of the model and each file."""
        rows = [('part', 'tensors', 'from', 'layout')]
        counts = Counter(
            (part_of(key), file) for key, (file, _) in self.sources.items())
        for (part, file), count in sorted(
                counts.items(), key=lambda item: PARTS.index(item[0][0])
                if item[0][0] in PARTS else len(PARTS)):
            rows.append((part, str(count), file, self.files.get(file, '')))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            '  '.join(
                cell.ljust(width)
                for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        lines += [
            f'dropped from {file}: {_sample(keys)}'
            for file, keys in self.dropped.items() if keys
        ]
        for title, keys in (
            ('given again by a later file', self.replaced),
            ('of a part that this model does not have', self.skipped),
            ('stretched to the image size', self.resized),
            ('left to be loaded elsewhere', self.left),
            ('MISSING', self.missing),
            ('UNEXPECTED', self.unexpected),
        ):
            if keys:
                lines.append(f'{title}: {_sample(keys)}')
        lines += [
            f'WRONG SHAPE: {key} is {list(got)} in the file and '
            f'{list(wanted)} in the model'
            for key, got, wanted in self.wrong_shapes[:8]
        ]
        if len(self.wrong_shapes) > 8:
            lines.append(f'... {len(self.wrong_shapes)} wrong shapes in all')
        return '\n'.join(lines)


def _sample(keys: list[str], limit: int = 4) -> str:
    """Name a few keys, and say how many more there are."""
    text = ', '.join(key[:200] for key in keys[:limit])
    more = len(keys) - limit
    return f'{text} and {more} more' if more > 0 else text
