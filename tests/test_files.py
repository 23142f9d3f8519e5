"""Atomic files: whole or untouched."""

import shutil

import pytest

from psst.files import atomic_path, write_atomic


def test_a_failed_write_leaves_the_earlier_file(tmp_path):
    target = tmp_path / "front.json"
    write_atomic(target, "first")
    with pytest.raises(FileNotFoundError), atomic_path(target) as temporary:
        shutil.copyfile(tmp_path / "absent", temporary)
    assert target.read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["front.json"]
