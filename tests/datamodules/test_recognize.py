import zipfile

import pytest
from PIL import Image

from psst.commands.data import _recognize


def images(folder, count=2):
    folder.mkdir(parents=True)
    for number in range(count):
        Image.new("RGB", (6, 6), (number, 0, 0)).save(folder / f"{number}.png")


@pytest.fixture
def place(tmp_path):
    return tmp_path / "data"


def test_class_folders_are_an_image_folder(place):
    for name in ("ant", "bee", "cat"):
        images(place / name)
    text = _recognize(place)
    assert "ImageFolder" in text
    assert "3 class folders with 6 images" in text


def test_csv_lists_are_mini_imagenet_before_an_image_folder(place):
    images(place / "images")
    for split in ("train", "val", "test"):
        (place / f"{split}.csv").write_text("filename,label\n0.png,a\n")
    lines = _recognize(place).splitlines()
    assert "MiniImageNet" in lines[1]


def test_official_zips_are_omniglot(place):
    place.mkdir()
    with zipfile.ZipFile(place / "images_background_small1.zip", "w") as archive:
        archive.writestr("images_background_small1/Greek/character01/0394_01.png", b"")
    assert "Omniglot" in _recognize(place)


def test_unknown_content_is_listed_and_a_way_is_named(place):
    place.mkdir()
    assert "it is empty" in _recognize(place)
    (place / "notes.docx").write_bytes(b"PK")
    text = _recognize(place)
    assert "notes.docx" in text
    assert "one folder a class" in text


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"<!DOCTYPE html><html>quota exceeded", "a web page"), (b"\x80\x04.", "a pickle"), (b"abc", "3 bytes")],
)
def test_a_file_is_named_by_its_first_bytes(place, content, words):
    place.write_bytes(content)
    assert words in _recognize(place)


def test_nothing_there(place):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        _recognize(place)
