# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Answers, appended to a file as they come.

The first line of the file is ``{"run": {...}}``, what the answers depend on;
each line after it is a sample with its answer, or with why there is none.
A process killed at any moment leaves whole lines and at most one torn one.
"""

import json
import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from torch import Tensor

from ...errors import ConfigError, DatasetError
from ...utils.faults import Faults
from .fingerprint import differences, digest

INDEX = 'sample_index'
FIRST = ('image_id', 'question_id', 'question')
# Of no use once the answer is there.
DROPPED = ('candidates', 'img_shape', 'ori_shape', 'scale_factor', INDEX)


def to_record(sample: Any) -> dict[str, Any]:
    """A data sample as plain data; ``index`` is its place in the data set.

    Raises:
        ConfigError: If a field cannot be written as JSON.
    """
    record = dict(index=int(sample.get(INDEX)))
    fields = sample.to_dict()
    # Samples keep their fields in no order; two runs shall give one file.
    for key in sorted(fields, key=lambda key: (key not in FIRST, key)):
        if key not in DROPPED:
            record[key] = plain(fields[key], key)
    return record


def plain(value: Any, key: str) -> Any:
    """A field of a sample as JSON can hold it.

    Raises:
        ConfigError: If it cannot.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (Tensor, np.ndarray, np.generic)):
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(k): plain(v, key) for k, v in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(v, key) for v in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise ConfigError(
        f'The field {key!r} of a sample is a {type(value).__name__}, which '
        'cannot be kept among the answers: leave it out of PackInputs, or '
        "set test_cfg.type='TestLoop', which keeps none.")


class PredictionLog:
    """The answers of one evaluation.

    Process 0 writes ``path``, process N beside it ``<stem>.rankN<ending>``,
    until :meth:`finish` puts all into ``path``, in order.

    Args:
        path: The file, JSON lines.
        settings: What answers depend on, see
            :func:`~.fingerprint.read_settings`.
        total: How many samples there are.
        rank: The number of this process.
    """

    def __init__(self, path: str | Path, settings: dict, total: int,
                 rank: int = 0) -> None:
        self.path = Path(path)
        self.settings = settings
        self.total = total
        self.rank = rank
        self.records: dict[int, dict] = {}  # all that process 0 knows
        self._file: TextIO | None = None
        self._lock: TextIO | None = None

    def prepare(self, fresh: bool = False, keep_finished: bool = True,
                max_faults: int = 0) -> int:
        """Read what is there; process 0 calls this before any :meth:`open`.

        Args:
            fresh: Start over, whatever is there.
            keep_finished: Whether a finished run is read, to be scored once
                more; otherwise it is started over.
            max_faults: Refuse a file with more faults than that.

        Returns:
            How many samples have been answered.

        Raises:
            DatasetError: If answers were made with other settings, do not
                match the questions, or another process writes there.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._take_lock()
        others = self._others()
        if self.path.is_dir():
            raise DatasetError(f'{self.path} is a folder; name a file.')
        header, lines = _read(self.path)
        if fresh or header is None and self._is_empty() or (
                not keep_finished and (header or {}).get('finished')):
            lines, others = [], []
        elif header is None:
            raise DatasetError(
                f'{self.path} is there and is no file of answers of an '
                'evaluation: name another file, or start over by --fresh.')
        else:
            self._check(header, self.path)
        for other in others:
            header, more = _read(other)
            if header is not None:
                self._check(header, other)
                lines += more
        self.records = self._match(lines, max_faults)
        self._write()
        for other in self._others():
            other.unlink(missing_ok=True)
        return len(self.records)

    def open(self) -> None:
        """Be ready to append."""
        path = self.path if self.rank == 0 else self._own(self.rank)
        if self.rank:
            with path.open('w', encoding='utf-8') as file:
                file.write(self._header())
        self._file = path.open('a', encoding='utf-8')

    def add(self, record: dict) -> None:
        """Append a sample with its answer; it survives a kill."""
        self.records[record['index']] = record
        self._file.write(_line(record))
        self._file.flush()

    def fail(self, index: int, reason: str, **known: Any) -> None:
        """Append why a sample has no answer; a later run tries it again."""
        self.add(dict(index=index, failed=reason, **known))

    def answered(self) -> set[int]:
        """The samples that need no new answer."""
        return {i for i, x in self.records.items() if 'failed' not in x}

    def failed(self) -> list[dict]:
        """The samples that could not be answered, in order."""
        return [self.records[i] for i in sorted(self.records)
                if 'failed' in self.records[i]]

    def finish(self, done: bool) -> None:
        """Put all answers into the one file, in order (process 0).

        Args:
            done: Whether the run is complete and scored.
        """
        self.close()
        self._write(finished=_now() if done else None)
        for other in self._others():
            other.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file of this process."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def release(self) -> None:
        """Let another run write there."""
        self.close()
        if self._lock is not None:
            Path(self._lock.name).unlink(missing_ok=True)
            self._lock.close()
            self._lock = None

    def _match(self, lines: list[dict], max_faults: int) -> dict[int, dict]:
        """Records by index; what does not match the questions is a fault."""
        faults = Faults(f'The answers file {self.path}', max_faults,
                        'Start over by --fresh')
        records: dict[int, dict] = {}
        for record in lines:
            index = record.get('index')
            if not isinstance(index, int) or not 0 <= index < self.total:
                faults.add('of no question', index)
                continue
            known = records.get(index)
            if known is None or 'failed' in known:
                records[index] = record
            elif 'failed' not in record and known != record:
                faults.add('answered twice', index)
        faults.raise_if_over_budget()
        return records

    def _check(self, header: dict, path: Path) -> None:
        odd = differences(self.settings, header.get('settings', {}))
        if odd:
            raise DatasetError(
                f'{path} holds answers of a run with other settings: '
                f'{"; ".join(odd)}. Go on with those of that run, name '
                'another file by --out, or start over by --fresh.')

    def _is_empty(self) -> bool:
        # A kill while the first line was written leaves a part of it.
        return not self.path.exists() or b'\n' not in self.path.read_bytes()

    def _header(self, finished: str | None = None) -> str:
        run = dict(format=1, digest=digest(self.settings),
                   settings=self.settings, finished=finished)
        return _line(dict(run=run))

    def _write(self, finished: str | None = None) -> None:
        partial = self.path.with_name(self.path.name + '.part')
        with partial.open('w', encoding='utf-8') as file:
            file.write(self._header(finished))
            file.writelines(
                _line(self.records[i]) for i in sorted(self.records))
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, self.path)

    def _own(self, rank: int) -> Path:
        return self.path.with_name(
            f'{self.path.stem}.rank{rank}{self.path.suffix}')

    def _others(self) -> list[Path]:
        start, end = f'{self.path.stem}.rank', self.path.suffix
        return sorted(
            x for x in self.path.parent.glob('*')
            if x.name.startswith(start) and x.name.endswith(end)
            and x.name[len(start):len(x.name) - len(end)].isdigit())

    def _take_lock(self) -> None:
        try:
            import fcntl
        except ImportError:  # Windows
            return
        lock = self.path.with_name(self.path.name + '.lock')
        self._lock = lock.open('w')
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            self._lock = None
            raise DatasetError(
                f'Another run is writing {self.path}: wait for it, or name '
                'another file by --out.') from None
        except OSError:  # a file system without locks
            pass


def _read(path: Path) -> tuple[dict | None, list[dict]]:
    """The header and the whole lines of a file; a torn last one is dropped.

    Raises:
        DatasetError: If a line in the middle is broken.
    """
    if not path.is_file():
        return None, []
    lines = path.read_bytes().split(b'\n')
    found = []
    for number, line in enumerate(lines[:-1], 1):
        try:
            item = json.loads(line)
        except ValueError:
            item = None
        if not isinstance(item, dict):
            if number == 1:
                return None, []
            raise DatasetError(
                f'Line {number} of {path} is broken, in the middle of the '
                'file: restore it, or start over by --fresh.')
        found.append(item)
    header = found[0].get('run') if found else None
    if not isinstance(header, dict) or 'settings' not in header:
        return None, []
    return header, found[1:]


def _line(record: dict) -> str:
    # Escaped: a lone surrogate of a file name survives, and so do line
    # separators that some readers cut at.
    return json.dumps(record) + '\n'


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec='seconds')
