"""Any folder of images: layouts, what is skipped, what is refused."""

import json
import os
import shutil
import sys
import warnings
from collections import Counter

import numpy as np
import pytest
from folders import put_classes, put_image, splits_of

from psst.images import build_store
from psst.images.sources.class_folders import describe
from psst.images.sources.folder import FolderSource

TEN = [f"c{i}" for i in range(10)]
SPLITS = {"train": ["a", "b", "c"], "val": ["d", "e"], "test": ["f", "g"]}


@pytest.fixture
def root(tmp_path):
    return tmp_path / "pictures"


@pytest.fixture
def split_root(root):
    for split, names in SPLITS.items():
        put_classes(root / split, names)
    return root


def scan(root, **options):
    """Scan; any warning is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return FolderSource(root, **options).scan()


def test_class_folders_are_divided_by_a_seed(root):
    put_classes(root, TEN)
    records = scan(root)
    assert Counter(record.class_name for record in records) == dict.fromkeys(TEN, 3)
    assert {split: len(names) for split, names in splits_of(records).items()} == {
        "train": 6,
        "val": 2,
        "test": 2,
    }
    assert splits_of(scan(root, split_seed=1)) != splits_of(records)
    assert describe(root) == "10 class folders with 30 images, no split"


def test_records_come_by_split_class_and_file(split_root):
    records = scan(split_root)
    assert splits_of(records) == SPLITS
    assert [str(record.reference) for record in records[:4]] == [
        f"{split_root}/train/{name}" for name in ("a/a_0.png", "a/a_1.png", "a/a_2.png", "b/b_0.png")
    ]
    assert describe(split_root) == "7 class folders with 21 images in train (3), val (2), test (2)"


@pytest.mark.parametrize("name", ["val", "valid", "validation", "Val", "VALIDATION"])
def test_the_split_between_has_several_names(split_root, name):
    (split_root / "val").rename(split_root / name)
    assert splits_of(scan(split_root)) == SPLITS


@pytest.mark.parametrize("outer", ["images", "data/pictures"])
def test_folders_round_everything_do_not_count(split_root, outer):
    moved = split_root.parent / "outer" / outer
    moved.parent.mkdir(parents=True)
    split_root.rename(moved)
    assert splits_of(scan(split_root.parent / "outer")) == SPLITS


def test_nested_classes_are_named_by_their_path(root):
    put_classes(root, [f"{kind}/{name}" for kind in ("birds", "fish") for name in ("x", "y", "z")])
    assert sorted({record.class_name for record in scan(root)})[:2] == ["birds/x", "birds/y"]


def test_nested_classes_below_a_split(root):
    for split, names in SPLITS.items():
        put_classes(root / split, [f"kind/{name}" for name in names])
    assert splits_of(scan(root))["val"] == ["kind/d", "kind/e"]


def test_a_class_may_be_called_train(root):
    put_classes(root, ["train", *TEN])
    assert describe(root) == "11 class folders with 33 images, no split"
    assert "train" in {record.class_name for record in scan(root)}


def test_seeded_pools_the_folders_of_splits(root):
    """What people have who trained a plain classifier: every class in train/ and in val/."""
    for split in ("train", "val"):
        for name in TEN:
            put_image(root / split / name / f"{split}.png")
    with pytest.raises(
        ValueError, match=r"10 of 10 classes .* two splits, first: `c0` in train and val; .*seeded"
    ):
        scan(root)
    records = scan(root, splits="seeded")
    assert Counter(record.class_name for record in records) == dict.fromkeys(TEN, 2)


def test_missing_split_is_named_with_the_way_out(split_root):
    shutil.rmtree(split_root / "val")
    with pytest.raises(
        ValueError, match=r"no class folders with images in val/ beside train/ and test/; .*seeded"
    ):
        scan(split_root)
    assert sum(map(len, splits_of(scan(put_classes(split_root, ["train/x"]), splits="seeded")).values())) == 6


def test_too_few_classes_for_a_seeded_split(root):
    put_classes(root, ["cat", "dog"])
    told = rf"2 classes cannot be divided .*`psst adapt {root} --encoder efficientnet-lite0`"
    with pytest.raises(ValueError, match=told):
        scan(root)


def test_unlabeled_images_have_no_class(root):
    put_classes(root, TEN)
    put_image(root / "unlabeled" / "flat.png")
    put_image(root / "unlabeled" / "deep" / "er" / "x.png")
    records = scan(root)
    assert [(record.class_name, record.split) for record in records[-2:]] == [("", "unlabeled")] * 2
    assert len(records) == 32
    assert describe(root) == "10 class folders with 30 images, no split; 2 images without a label"


def test_unlabeled_images_beside_splits(split_root):
    put_image(split_root / "unlabeled" / "u.png")
    assert splits_of(scan(split_root)) == {**SPLITS, "unlabeled": [""]}


def test_store_of_a_folder(split_root, tmp_path):
    put_image(split_root / "unlabeled" / "u.png")
    source = FolderSource(split_root)
    store = build_store(source, 6, tmp_path / "cache")
    assert store.class_names == list("abcdefg")
    assert store.labels.tolist() == [label for label in range(7) for _ in range(3)] + [-1]
    np.testing.assert_array_equal(store.images[0], source.decode(source.scan()[0], 6))


def test_key_follows_files_and_splits_only(split_root):
    def key(**options):
        return json.dumps(FolderSource(split_root, **options).key(8))

    first = key()
    assert key() == first
    assert key(split_seed=5) == first  # not used: the folders have splits
    assert key(splits="seeded") != first
    assert key(splits="seeded", split_seed=5) != key(splits="seeded")
    (split_root / "notes.txt").write_text("not an image")
    (split_root / "train" / "a" / ".hidden.png").write_bytes(b"")
    assert key() == first
    put_image(split_root / "train" / "a" / "new.png")
    assert key() != first


def test_clutter_is_skipped_without_a_word(root):
    put_classes(root, TEN)
    for name in ("Thumbs.db", ".DS_Store", "desktop.ini", "._c0_0.png", ".hidden.png"):
        (root / "c0" / name).write_bytes(b"x")
    put_image(root / "__MACOSX" / "c0" / "c0_0.png")
    put_image(root / ".trash" / "x.png")
    (root / "README.md").write_text("beside the classes")
    assert len(scan(root)) == 30


@pytest.mark.parametrize("suffix", ["JPG", "jpeg", "PNG", "tif", "Bmp", "webp", "gif"])
def test_suffixes_in_any_case(root, suffix):
    put_classes(root, TEN)
    (root / "c0" / "c0_0.png").rename(root / "c0" / f"c0_0.{suffix}")
    assert len(scan(root)) == 30


def test_what_is_left_out_is_counted_in_warnings(root):
    put_classes(root, TEN)
    (root / "c0" / "movie.mp4").write_bytes(b"x")
    (root / "c1" / "photo.heic").write_bytes(b"x")
    put_image(root / "alone.png")
    (root / "c10").mkdir()
    source = FolderSource(root)
    assert len(source.scan()) == 30
    for _run in range(2):  # not at the first one only, which builds the store
        with pytest.warns(UserWarning, match="init_args.root") as caught:
            source.key(8)
        messages = [str(warning.message) for warning in caught]
        assert [message.partition(f"root={root}`: ")[2] for message in messages] == [
            "2 files are not images by their names and were left out, first: c0/movie.mp4.",
            "1 images lie in no class folder and were left out, first: alone.png.",
            "1 folders hold no images and are no classes, first: c10.",
        ]


def test_images_beside_the_splits_are_warned_of(split_root):
    put_classes(split_root, ["extra/x"])
    put_image(split_root / "test" / "flat.png")
    with pytest.warns(UserWarning, match=r"4 images lie in no class folder .* first: extra/x/x_0.png"):
        FolderSource(split_root).key(8)
    assert splits_of(FolderSource(split_root).scan()) == SPLITS


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have UTF-8 names only")
def test_names_that_are_not_utf8_work_and_go_into_json(root, tmp_path):
    put_classes(root, TEN)
    folder = os.path.join(os.fsencode(root), b"caf\xe9")  # noqa: PTH118 - bytes
    os.mkdir(folder)  # noqa: PTH102 - bytes
    for name in (b"\xff.png", "\u96ea.png".encode()):
        shutil.move(put_image(tmp_path / repr(name)), os.path.join(os.fsdecode(folder), os.fsdecode(name)))  # noqa: PTH118 - bytes
    source = FolderSource(root, splits="seeded")
    records = [record for record in source.scan() if record.class_name == "caf\\xe9"]
    assert sorted(str(record.reference) for record in records) == [
        f"{root}/caf\\xe9/\\xff.png",
        f"{root}/caf\\xe9/\u96ea.png",
    ]
    store = build_store(source, 4, tmp_path / "cache")
    assert "caf\\xe9" in json.loads((store.folder / "meta.json").read_text(encoding="utf-8"))["class_names"]
    (root / "c0" / "c0_0.png").write_bytes(b"")
    os.truncate(os.path.join(folder, b"\xff.png"), 10)  # noqa: PTH118 - bytes
    with pytest.raises(ValueError, match=r"2 of 32 images"):
        build_store(source, 4, tmp_path / "cache")


@pytest.mark.parametrize("kind", ["file", "folder", "broken", "circle"])
def test_links_out_of_the_folder_are_refused(root, tmp_path, kind):
    put_classes(root, TEN)
    outside = put_image(tmp_path / "elsewhere" / "secret.png")
    target = {"file": outside, "folder": outside.parent, "broken": tmp_path / "gone", "circle": root / "c1"}[
        kind
    ]
    (root / "c1" / "link.png").symlink_to(target)
    with pytest.raises(
        ValueError, match=r"1 links in `data.init_args.root=.* first: c1/link.png; replace them"
    ):
        scan(root)
    with pytest.raises(ValueError, match=r"1 links"):
        FolderSource(root).key(8)
    assert (
        describe(root)
        == "10 class folders with 30 images, no split; 1 folder or link that cannot be looked into"
    )


@pytest.mark.skipif(sys.platform == "win32" or os.getuid() == 0, reason="root may read anything")
def test_folders_that_may_not_be_read_are_named(root):
    put_classes(root, TEN)
    (root / "c4").chmod(0)
    with pytest.raises(PermissionError, match=r"1 folders in .* may not be read, first: c4; change"):
        scan(root)


def test_links_between_folders_end(root):
    """p/x leads to q and q/y leads to p: followed once each, then refused."""
    put_classes(root, ["p", "q", *TEN])
    (root / "p" / "x").symlink_to(root / "q")
    (root / "q" / "y").symlink_to(root / "p")
    with pytest.raises(ValueError, match=r"2 links .* first: p/x/y"):
        scan(root)


def test_links_within_the_folder_are_followed(root):
    """Splits made of links to one pool of images beside them."""
    for split, names in SPLITS.items():
        (root / split).mkdir(parents=True)
        for name in names:
            put_classes(root / "pool", [name])
            (root / split / name).symlink_to(root / "pool" / name)
    with pytest.warns(UserWarning, match=r"21 images lie in no class folder .* first: pool/a/a_0.png"):
        FolderSource(root).key(8)
    records = FolderSource(root).scan()
    assert splits_of(records) == SPLITS
    assert records[0].reference.read() == (root / "pool" / "a" / "a_0.png").read_bytes()


def test_the_root_may_be_a_link(split_root, tmp_path):
    (tmp_path / "link").symlink_to(split_root)
    assert splits_of(scan(tmp_path / "link")) == SPLITS


def test_folders_without_classes_are_refused(root):
    put_image(root / "a.png")
    with pytest.raises(FileNotFoundError, match=r"holds no folders with images \(1 images outside of class"):
        scan(root)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        scan(root / "nowhere")
    assert describe(root) is None


def test_a_class_with_one_image_is_kept(root):
    """Whether it is enough depends on the episodes: they check."""
    put_classes(root, TEN)
    put_image(root / "single" / "one.png")
    assert Counter(record.class_name for record in scan(root))["single"] == 1


def test_damaged_images_are_named(root, tmp_path):
    put_classes(root, TEN)
    path = root / "c3" / "c3_1.png"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ValueError, match=r"1 of 30 images are damaged.*c3/c3_1.png` \(40 bytes\)"):
        build_store(FolderSource(root), 4, tmp_path / "cache")


def test_a_look_stops_at_its_limit_and_survives_anything(root, monkeypatch):
    put_classes(root, TEN)
    monkeypatch.setattr("psst.images.sources.class_folders._LIMIT", 7)
    assert describe(root).startswith("more than 3 class folders with more than 9 images")
    assert describe(root / "nowhere") is describe(root / "c0" / "c0_0.png") is None
