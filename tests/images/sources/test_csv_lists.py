"""csv lists of images: columns, places of the images, and what a look at a folder says."""

import tarfile
import zipfile

import pytest
from folders import put_image, splits_of

from psst.datamodules import MiniImageNet
from psst.images.sources.folder import FolderSource

SPLITS = {"train": ["a", "b", "c"], "val": ["d", "e"], "test": ["f", "g"]}


def write_lists(root, columns="filename,label"):
    root.mkdir(exist_ok=True)
    for split, names in SPLITS.items():
        rows = [(f"{name}_{i}.png", name) for name in names for i in range(2)]
        ordered = rows if columns.startswith("filename") else [row[::-1] for row in rows]
        (root / f"{split}.csv").write_text("\n".join([columns, *map(",".join, ordered)]))
    return root


def put_images(folder, a_folder_a_class):
    for names in SPLITS.values():
        for name in names:
            for i in range(2):
                put_image(folder / (name if a_folder_a_class else ".") / f"{name}_{i}.png")


def source_of(root):
    return FolderSource(root, "mini", splits=root)


@pytest.mark.parametrize("columns", ["filename,label", "class_name,image_name"])
@pytest.mark.parametrize("a_folder_a_class", [True, False])
@pytest.mark.parametrize("place", [".", "images"])
def test_columns_of_both_kinds_and_images_in_all_places(tmp_path, columns, a_folder_a_class, place):
    root = write_lists(tmp_path / "mini", columns)
    put_images(root / place, a_folder_a_class)
    records = source_of(root).scan()
    assert splits_of(records) == SPLITS
    assert [record.reference.name.rpartition("/")[2] for record in records[:2]] == ["a_0.png", "a_1.png"]


def test_names_that_repeat_in_every_class(tmp_path):
    """easyfsl names an image by its class and its name."""
    root = write_lists(tmp_path / "mini")
    for split, names in SPLITS.items():
        (root / f"{split}.csv").write_text(
            "\n".join(["class_name,image_name", *(f"{n},1.png" for n in names)])
        )
        for name in names:
            put_image(root / name / "1.png")
    records = source_of(root).scan()
    assert [record.reference.name for record in records] == [f"{name}/1.png" for name in "abcdefg"]


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "tgz", "tar.bz2", "tar.xz", "zip"])
def test_images_in_archives_of_any_kind(tmp_path, kind):
    root = write_lists(tmp_path / "mini")
    put_images(tmp_path / "images", a_folder_a_class=False)
    if kind == "zip":
        with zipfile.ZipFile(root / "all.zip", "w") as archive:
            for path in (tmp_path / "images").iterdir():
                archive.write(path, f"images/{path.name}")
    else:
        mode = {"tar": "w", "tgz": "w:gz"}.get(kind, f"w:{kind.rpartition('.')[2]}")
        with tarfile.open(root / f"all.{kind}", mode) as archive:
            archive.add(tmp_path / "images", "images")
    source = source_of(root)
    records = source.scan()
    assert splits_of(records) == SPLITS
    assert source.decode(records[0], 8).shape == (8, 8, 3)


def test_a_look_says_what_is_there_and_what_is_not(tmp_path):
    assert not MiniImageNet.layouts[0].sees(tmp_path / "nowhere")
    assert not MiniImageNet.layouts[0].sees(tmp_path)
    root = write_lists(tmp_path / "mini")
    assert MiniImageNet.layouts[0].sees(root)
    (root / "val.csv").unlink()
    assert MiniImageNet.layouts[0].sees(root)
    with pytest.raises(FileNotFoundError, match="has no list for val"):
        source_of(root).scan()


@pytest.mark.parametrize("content", [b"", b"id,target\n1,2\n", b"\xff\xfe\x00", b"filename,label\n"])
def test_other_csv_files_are_refused(tmp_path, content):
    for split in SPLITS:
        (tmp_path / f"{split}.csv").write_bytes(content)
    assert MiniImageNet.layouts[0].sees(tmp_path)
    with pytest.raises(ValueError, match=r"train.csv"):
        source_of(tmp_path).scan()
