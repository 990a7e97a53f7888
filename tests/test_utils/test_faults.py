# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Lists that are added to line by line, and files yet to be written."""

import pytest

from mmpretrain_minigpt4.errors import ConfigError
from mmpretrain_minigpt4.utils.faults import append_lines, check_writable


@pytest.mark.parametrize('before, after', [
    (None, 'a\nb\n'),
    ('', 'a\nb\n'),
    ('whole\n', 'whole\na\nb\n'),
    ('cut sh', 'cut sh\na\nb\n'),
])
def test_a_line_cut_by_a_kill_spoils_no_later_one(tmp_path, before, after):
    path = tmp_path / 'list.jsonl'
    if before is not None:
        path.write_text(before)
    append_lines(path, ['a', 'b'])
    assert path.read_text() == after


def test_a_file_that_cannot_be_written_is_told_before_the_work(
        tmp_path, monkeypatch):
    check_writable(tmp_path / 'new' / 'folder' / 'a.json', '--out')
    assert not list(tmp_path.iterdir())
    with pytest.raises(ConfigError, match='--out .*it is a folder'):
        check_writable(tmp_path, '--out')
    (tmp_path / 'file').write_text('')
    with pytest.raises(ConfigError, match='file is no folder'):
        check_writable(tmp_path / 'file' / 'a.json', '--out')
    # Root may write anywhere.
    monkeypatch.setattr('os.access', lambda *_: False)
    with pytest.raises(ConfigError, match='cannot be written to'):
        check_writable(tmp_path / 'a.json', '--out')
