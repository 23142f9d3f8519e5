"""Atomic files: whole or untouched; JSON with the number of its format."""

import shutil

import pytest

from psst.files import atomic_folder, atomic_path, read_json, write_atomic, write_json


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


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()
    }


@pytest.mark.parametrize("name", ["new", "deep/new"])
def test_a_folder_appears_when_it_is_whole(name, tmp_path):
    with atomic_folder(tmp_path / name) as folder:
        (folder / "a.txt").write_text("a")
        assert not (tmp_path / name).exists()
    assert contents(tmp_path) == {f"{name}/a.txt": "a"}
    assert (tmp_path / name).stat().st_mode & 0o777 == 0o755


def written(path, text, then=lambda folder: None):
    with atomic_folder(path) as folder:
        (folder / "a.txt").write_text(text)
        then(folder)


def interrupt(folder):
    raise KeyboardInterrupt


def test_a_folder_is_replaced_as_a_whole_or_left_as_it_was(tmp_path):
    written(tmp_path / "one", "old")
    with pytest.raises(KeyboardInterrupt):
        written(tmp_path / "one", "new", interrupt)
    with pytest.raises(FileNotFoundError):
        written(tmp_path / "one", "new", shutil.rmtree)  # so that there is nothing to rename
    assert contents(tmp_path) == {"one/a.txt": "old"}
    written(tmp_path / "one", "new")
    assert contents(tmp_path) == {"one/a.txt": "new"}


def test_a_folder_that_cannot_be_moved_away_is_named_with_a_way_out(tmp_path):
    written(tmp_path / "one", "old")
    with pytest.raises(OSError, match=r"`.*one` cannot be replaced .*; name one that is not there yet"):
        written(
            tmp_path / "one", "new", lambda new: (new.parent / f"{new.name}.old").write_text("in the way")
        )
    assert contents(tmp_path / "one") == {"a.txt": "old"}
