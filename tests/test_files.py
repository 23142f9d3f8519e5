"""Atomic files: whole or untouched."""

import pytest

from psst.files import atomic_path, write_atomic


def test_a_failed_write_leaves_the_earlier_file(tmp_path):
    target = tmp_path / "front.json"
    write_atomic(target, "first")
    with pytest.raises(RuntimeError, match="broken"), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError("broken")
    assert target.read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["front.json"]
