"""The user's lists for a folder of images: of classes, or of images, in the styles of other libraries."""

from collections import Counter

import pytest
from folders import put_classes, put_image, splits_of

from psst.images.sources.folder import FolderSource

SPLITS = {"train": ["a", "b", "c"], "val": ["d", "e"], "test": ["f", "g"]}
NAMES = [name for names in SPLITS.values() for name in names]


@pytest.fixture
def root(tmp_path):
    return put_classes(tmp_path / "birds" / "images", NAMES).parent


def write_text_lists(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for split, names in SPLITS.items():
        (folder / f"{split}.txt").write_text("\n".join(names))
    return folder


def scan(root, lists):
    return FolderSource(root, splits=str(lists)).scan()


@pytest.mark.parametrize("inside", [True, False])
def test_r2d2_text_files(root, tmp_path, inside, recwarn):
    lists = write_text_lists((root if inside else tmp_path) / "splits" / "bertinetto")
    assert splits_of(scan(root, lists)) == SPLITS
    assert not recwarn


def test_classes_in_no_list_are_left_out_with_a_warning(root, tmp_path):
    lists = write_text_lists(tmp_path / "lists")
    put_classes(root / "images", ["h", "i"])
    with pytest.warns(UserWarning, match=r"2 classes are not listed in `data.init_args.splits=.*first: h"):
        assert splits_of(scan(root, lists)) == SPLITS


def write_image_lists(folder, images=2):
    """Absolute paths of another machine, two of three images a class."""
    folder.mkdir(exist_ok=True)
    for file, split in (("base", "train"), ("val", "val"), ("novel", "test")):
        rows = [
            f"/home/someone/filelists/images/{name}/{name}_{i}.png,{name}"
            for name in SPLITS[split]
            for i in range(images)
        ]
        (folder / f"{file}.csv").write_text("\n".join(["filename,label", *rows]))
    return folder


def test_lists_of_images_take_those_only(root, tmp_path):
    records = scan(root, write_image_lists(tmp_path / "lists"))
    assert splits_of(records) == SPLITS
    assert Counter(record.class_name for record in records) == dict.fromkeys(NAMES, 2)


@pytest.mark.parametrize("columns", ["filename,label", "class_name,image_name"])
@pytest.mark.parametrize("with_folder", [True, False])
def test_csv_lists_of_images(root, tmp_path, columns, with_folder):
    for split, names in SPLITS.items():
        rows = [(f"{name}/" * with_folder + f"{name}_{i}.png", name) for name in names for i in (0, 2)]
        ordered = rows if columns.startswith("filename") else [row[::-1] for row in rows]
        (tmp_path / f"{split}.csv").write_text("\n".join([columns, *map(",".join, ordered)]))
    records = scan(root, tmp_path)
    assert splits_of(records) == SPLITS
    assert Counter(record.class_name for record in records) == dict.fromkeys(NAMES, 2)


def test_one_csv_of_images_with_a_column_of_splits(root, tmp_path):
    """Classes are those of the list, wherever the images lie."""
    lists = tmp_path / "all.csv"
    rows = [f"images/{name}/{name}_0.png,kind {name},{split}" for split in SPLITS for name in SPLITS[split]]
    lists.write_text("\n".join(["filename,label,split", *rows]))
    assert splits_of(scan(root, lists))["test"] == ["kind f", "kind g"]


def test_equal_file_names_are_told_apart_by_their_class(tmp_path):
    for name in NAMES:
        put_image(tmp_path / "birds" / name / "1.png")
    rows = [f"1.png,{name},{split}" for split in SPLITS for name in SPLITS[split]]
    (tmp_path / "all.csv").write_text("\n".join(["filename,label,split", *rows[:1]]))
    records = scan(tmp_path / "birds", tmp_path / "all.csv")
    assert [str(record.reference) for record in records] == [f"{tmp_path}/birds/a/1.png"]


def test_unlabeled_images_join_listed_ones(root, tmp_path):
    put_image(root / "images" / "unlabeled" / "u.png")
    assert splits_of(scan(root, write_image_lists(tmp_path / "lists")))["unlabeled"] == [""]


def test_missing_images_are_counted_and_the_first_is_named(root, tmp_path):
    lists = write_image_lists(tmp_path / "lists")
    (root / "images" / "f" / "f_1.png").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"1 of 14 images .* missing, first: /home/.*f/f_1.png; put them below"
    ):
        scan(root, lists)


def test_image_in_two_splits_is_refused(root, tmp_path):
    lists = tmp_path / "all.csv"
    lists.write_text("filename,label,split\na/a_0.png,a,train\na/a_0.png,a,test\n")
    with pytest.raises(ValueError, match=r"`a/a_0.png` and `a/a_0.png` in .* are one file"):
        scan(root, lists)


def test_two_lines_for_one_file_are_refused(root, tmp_path):
    lists = tmp_path / "all.csv"
    lists.write_text("filename,label,split\na/a_0.png,a,train\nimages/a/a_0.png,a,train\n")
    with pytest.raises(ValueError, match=r"`images/a/a_0.png` and `a/a_0.png` in .* are one file"):
        scan(root, lists)


@pytest.mark.parametrize("row", ["a/a_0.png,a,dev", "a/a_0.png,,train", ",a,train", "a/a_0.png"])
def test_incomplete_line_is_named(root, tmp_path, row):
    (tmp_path / "all.csv").write_text(f"filename,label,split\n{row}\n")
    with pytest.raises(
        ValueError, match=r"line 2 of `.*all.csv` is .*; it needs an image, a class and one of train"
    ):
        scan(root, tmp_path / "all.csv")


def test_what_the_lists_say_decides_the_key(root, tmp_path):
    lists = write_text_lists(tmp_path / "lists")
    source = FolderSource(root, splits=str(lists))
    before = source.key(8)
    (lists / "note.md").write_text("no list")
    assert source.key(8) == before
    (lists / "train.txt").write_text("a\nb\n")
    assert source.key(8) != before


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("a/1.png", "images/a/1.png"),  # the end of two paths: that below images/ is meant
        ("/elsewhere/other/a/1.png", "other/a/1.png"),
        ("2.png", "2.png"),  # a path below the root goes before what ends so
        ("..\\x\\a\\3.png", "other/a/3.png"),
        (".", None),
    ],
)
def test_a_listed_path_is_the_longest_end_that_is_clear(tmp_path, written, found):
    root = tmp_path / "root"
    for path in ("images/a/1.png", "other/a/1.png", "2.png", "images/2.png", "other/a/3.png"):
        put_image(root / path)
    for number, split in enumerate(("val", "test", "train")):
        name = f"{split}{number}.png"
        put_image(root / name)
        rows = [f"{name},{split}", *([f"{written},train"] if split == "train" else [])]
        (tmp_path / f"{split}.csv").write_text("\n".join(["filename,label", *rows]))
    source = FolderSource(root, splits=str(tmp_path))
    if found is None:
        with pytest.raises(FileNotFoundError, match=r"1 of 4 images .* are missing"):
            source.scan()
    elif written.startswith(".."):
        with pytest.warns(UserWarning, match=r"1 rows of `data.init_args.splits=.*` lead upwards and stand"):
            assert found in {record.reference.name for record in source.scan()}
    else:
        assert found in {record.reference.name for record in source.scan()}
