# Copyright (c) mmpretrain_minigpt4 contributors.
# SPDX-License-Identifier: Apache-2.0
"""Lists that are added to line by line."""

import pytest

from mmpretrain_minigpt4.faults import append_lines


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
