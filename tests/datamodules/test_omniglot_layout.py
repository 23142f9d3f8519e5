"""What is said of a folder that may hold Omniglot."""

import os

import pytest

from psst.datamodules.omniglot import Omniglot
from psst.images.sources.layout import Layout
from tests.datamodules.drawings import archive, folder


def sees(path):
    return Omniglot.layouts[0].sees(path)


def test_archives_are_seen_in_what_they_hold(tmp_path):
    archive(tmp_path / "any.zip", {"Greek": 2, "Latin": 2}, "images_background_small1")
    assert sees(tmp_path)


@pytest.mark.parametrize("top", [".", "images_background", "omniglot-py/images_background"])
def test_folders_of_alphabets_are_seen_at_any_usual_depth(tmp_path, top):
    folder(tmp_path, {"Greek": 1, "Latin": 1}, top)
    assert sees(tmp_path)


def test_other_content_is_not_omniglot(tmp_path):
    (tmp_path / "cats").mkdir()
    (tmp_path / "cats" / "1.png").touch()
    (tmp_path / "images.zip").write_bytes(b"<html>404</html>")
    (tmp_path / "cut.zip").write_bytes(b"PK\x03\x04 and no more")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "broken.zip").symlink_to("nowhere")
    (tmp_path / "folder.zip").mkdir()
    (tmp_path / os.fsdecode(b"caf\xe9")).mkdir()
    for place in (tmp_path, tmp_path / "nowhere", tmp_path / "images.zip"):
        assert not sees(place)


def test_missing_layout_says_what_is_needed(tmp_path):
    (tmp_path / "cats").mkdir()
    with pytest.raises(FileNotFoundError, match=r"holds cats; Omniglot needs one of: images_background"):
        Layout.choose(tmp_path, Omniglot.layouts, "Omniglot")
