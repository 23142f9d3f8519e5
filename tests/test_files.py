"""Atomic files: whole or untouched; JSON with the number of its format."""

import shutil

import pytest

from psst.files import atomic_path, read_json, write_atomic, write_json


def test_a_failed_write_leaves_the_earlier_file(tmp_path):
    target = tmp_path / "front.json"
    write_atomic(target, "first")
    with pytest.raises(FileNotFoundError), atomic_path(target) as temporary:
        shutil.copyfile(tmp_path / "absent", temporary)
    assert target.read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["front.json"]


def test_what_is_written_is_read_without_its_format(tmp_path):
    write_json(tmp_path / "a.json", {"units": {"warm": [1, 2.5, None]}}, 3)
    assert read_json(tmp_path / "a.json", 3, "the manifest") == {"units": {"warm": [1, 2.5, None]}}


def test_another_format_is_refused_by_name(tmp_path):
    write_json(tmp_path / "a.json", {}, 4)
    for version, advice in ((3, "upgrade psst-fewshot, or remove it"), (5, "reads format 5; remove it")):
        with pytest.raises(ValueError, match=f"the manifest has format 4, .*{advice}"):
            read_json(tmp_path / "a.json", version, "the manifest")


@pytest.mark.parametrize("text", ["", '{"format": 1, "uni', "[1]", "7", "{}", '{"format": "x"}', "\udcff"])
def test_what_is_no_such_file_is_named(text, tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ValueError, match="the manifest is damaged, or something else"):
        read_json(path, 1, "the manifest")
