"""mini-ImageNet's pickles: Ren et al., learn2learn, Gidaris and Komodakis."""

import json
import pickle
import warnings

import numpy as np
import pytest
from PIL import Image

from psst.datamodules import MiniImageNet
from psst.images.build import build_store
from psst.images.sources.layout import Layout
from tests.images.sources.mini_files import (
    CLASSES,
    PUBLISHED,
    WRITERS,
    cache,
    categories,
    images,
    write_caches,
    write_categories,
)

LAYOUTS = MiniImageNet.layouts


def source(root):
    return Layout.choose(root, LAYOUTS, "mini-ImageNet").source(root)


def check(root, tmp_path, names=CLASSES):
    """Compare the store with what was written: class ``i`` of a split holds images i, i + 3, ..."""
    store = build_store(source(root), 12, tmp_path / "cache", workers=2)
    assert {split: [store.class_names[i] for i in ids] for split, ids in store.splits.items()} == names
    for split, ids in store.splits.items():
        for place, class_id in enumerate(ids):
            np.testing.assert_array_equal(
                store.images[store.image_ids(int(class_id))], images(split)[place::3]
            )


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("val", ["val", "validation"])
def test_caches(tmp_path, writer, val):
    check(write_caches(tmp_path / "mini", WRITERS[writer], val), tmp_path)


@pytest.mark.parametrize("writer", WRITERS)
def test_category_splits(tmp_path, writer):
    root = write_categories(tmp_path / "mini", WRITERS[writer])
    with pytest.warns(
        UserWarning, match=r"train_phase_test.pickle, .*train_phase_val.pickle hold further images"
    ):
        check(root, tmp_path)


def test_category_splits_without_names(tmp_path):
    root = write_categories(tmp_path / "mini", named=False)
    names = {
        s: [f"{s}/{first + i}" for i in range(3)] for s, first in (("train", 0), ("val", 64), ("test", 80))
    }
    with pytest.warns(UserWarning, match="left out"):
        check(root, tmp_path, names)


def test_a_folder_deeper_and_other_names(tmp_path):
    """The last word of a name says which split."""
    root = tmp_path / "data"
    root.mkdir()
    write_caches(root / "MiniImagenet")
    for path in (root / "MiniImagenet").iterdir():
        path.rename(path.with_name(path.name.replace("mini-imagenet-cache-", "imagenet-cache_84x84_")))
    check(root, tmp_path)


def test_what_the_layouts_see(tmp_path):
    seen = {}
    for name, write in (("cache", write_caches), ("categories", write_categories)):
        root = write(tmp_path / name)
        seen[name] = [layout.sees(root) for layout in LAYOUTS]
    assert seen["cache"] == [False, True, False, False]
    assert seen["categories"] == [False, False, True, False]
    assert not any(layout.sees(tmp_path / "cache" / "mini-imagenet-cache-val.pkl") for layout in LAYOUTS)


def test_another_size_is_the_same_as_from_files(tmp_path):
    """Shrinking an array equals shrinking the same image from a PNG file."""
    records = source(write_caches(tmp_path / "mini")).scan()
    image = next(record for record in records if record.class_name == CLASSES["val"][0])
    shrunk = source(tmp_path / "mini").decode(image, 5)
    expected = Image.fromarray(images("val")[0]).resize((5, 5), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(shrunk, np.asarray(expected))
    assert str(image.reference) == f"image 0 of {tmp_path / 'mini' / 'mini-imagenet-cache-val.pkl'}"


def test_renamed_splits_are_warned_of(tmp_path):
    root = write_caches(tmp_path / "mini")
    val, test = root / "mini-imagenet-cache-val.pkl", root / "mini-imagenet-cache-test.pkl"
    val.rename(root / "x")
    test.rename(val)
    (root / "x").rename(test)
    with pytest.warns(
        UserWarning, match=r"3 of 3 classes .*cache-val.pkl` are not val classes .* a test class"
    ):
        source(root).scan()


def test_key_changes_with_the_files(tmp_path):
    root = write_caches(tmp_path / "mini")
    before = source(root).key(84)
    (root / "notes.txt").write_text("unrelated")
    assert source(root).key(84) == before
    (root / "mini-imagenet-cache-val.pkl").write_bytes(pickle.dumps(cache("test")))
    assert source(root).key(84) != before


def test_missing_split_is_named(tmp_path):
    root = write_caches(tmp_path / "mini")
    (root / "mini-imagenet-cache-val.pkl").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"root=.*mini` lacks the file for val; expected mini-imagenet"
    ):
        source(root).scan()


def test_two_files_for_a_split_are_named(tmp_path):
    root = write_caches(tmp_path / "mini")
    (root / "mini-imagenet-cache-validation.pkl").write_bytes(pickle.dumps(cache("val")))
    with pytest.raises(ValueError, match=r"2 files for one split: .*-val.pkl, .*-validation.pkl; keep one"):
        source(root).scan()


def test_web_page_in_place_of_a_pickle(tmp_path):
    root = write_caches(tmp_path / "mini")
    (root / "mini-imagenet-cache-train.pkl").write_text(
        "<html><body>Google Drive - Quota exceeded</body></html>"
    )
    with pytest.raises(ValueError, match=r"cache-train.pkl` is a web page"):
        source(root).scan()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"class_dict": {"a": [0, 1]}}, "names 2 places, 2 of them different, for 15 images"),
        ({"class_dict": {"a": list(range(15)), "b": [3]}}, "names 16 places, 15 of them different"),
        ({"class_dict": {"a": [*range(14), 15]}}, "names 15 places, 14 of them different"),
        ({"class_dict": [1, 2]}, "`class_dict` of .* is a list; expected a dict"),
        ({"class_dict": {"a": "abc"}}, "the labels of .* are a str; expected a list of whole numbers"),
        ({"image_data": images("train").astype(np.float32)}, r"an array \[15, 12, 12, 3\] of type float32"),
        ({"image_data": images("train").transpose(0, 3, 1, 2)}, r"an array \[15, 3, 12, 12\] of type uint8"),
        ({"image_data": images("train")[..., :1]}, r"\[15, 12, 12, 1\]"),
        ({"image_data": [1, 2]}, "are a list of 2; expected"),
        ({"image_data": None}, "are a NoneType; expected"),
    ],
)
def test_wrong_content_of_a_cache_is_named(tmp_path, change, message):
    root = write_caches(tmp_path / "mini")
    (root / "mini-imagenet-cache-train.pkl").write_bytes(pickle.dumps(cache("train") | change))
    with pytest.raises(ValueError, match=message):
        source(root).scan()


def test_wrong_keys_are_shown(tmp_path):
    root = write_caches(tmp_path / "mini")
    (root / "mini-imagenet-cache-test.pkl").write_bytes(
        pickle.dumps({"images": images("test"), "classes": [1]})
    )
    with pytest.raises(
        ValueError, match="a dict with classes, images; expected a dict with image_data and class_dict"
    ):
        source(root).scan()


def test_labels_and_images_of_different_number(tmp_path):
    root = write_categories(tmp_path / "mini")
    content = categories("val", True) | {"labels": [64] * 14}
    (root / "miniImageNet_category_split_val.pickle").write_bytes(pickle.dumps(content))
    with (
        pytest.warns(UserWarning, match="left out"),
        pytest.raises(ValueError, match=r"split_val.pickle` holds 15 images, with 14 labels"),
    ):
        source(root).scan()


def test_lists_of_arrays_are_read_and_odd_ones_named(tmp_path):
    root = write_categories(tmp_path / "mini")
    content = categories("val", True)
    content["data"] = [*content["data"][:14], np.zeros((5, 5), np.uint8)]
    (root / "miniImageNet_category_split_val.pickle").write_bytes(pickle.dumps(content))
    with (
        pytest.warns(UserWarning, match="left out"),
        pytest.raises(
            ValueError, match=r"1 of 45 images are damaged.* image 14 of `.*val.pickle` is an array \[5, 5\]"
        ),
    ):
        build_store(source(root), 12, tmp_path / "cache")


def test_published_split():
    sizes = {split: list(PUBLISHED.values()).count(split) for split in ("train", "val", "test")}
    assert sizes == {"train": 64, "val": 16, "test": 20}


def picture(path, number):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 6, 3), number, np.uint8)).save(path)


def test_folders_with_splits(tmp_path):
    for number, (name, split) in enumerate(PUBLISHED.items()):
        picture(tmp_path / "mini" / "x" / split / name / "0.png", number)
    store = build_store(source(tmp_path / "mini"), 4, tmp_path / "cache")
    assert {store.class_names[i]: split for split, ids in store.splits.items() for i in ids} == PUBLISHED


def test_folders_with_other_splits_are_no_mini_imagenet(tmp_path):
    for split, other in (("train", "val"), ("val", "test"), ("test", "train")):
        for name in CLASSES[split]:
            picture(tmp_path / "mini" / other / name / "0.png", 7)
    assert not any(layout.sees(tmp_path / "mini") for layout in LAYOUTS)


def test_folders_of_imagenet(tmp_path):
    """The published classes are taken from any folder of them; others are left out."""
    for number, name in enumerate((*PUBLISHED, "n99999999")):
        for i in range(2):
            picture(tmp_path / "ILSVRC" / "train" / name / f"{name}_{i}.JPEG", number)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = source(tmp_path / "ILSVRC")
        store = build_store(found, 4, tmp_path / "cache")
    assert {store.class_names[i]: split for split, ids in store.splits.items() for i in ids} == PUBLISHED
    assert len(store) == 200
    assert json.dumps(found.key(4))


def test_missing_class_of_imagenet_is_named(tmp_path):
    for name in list(PUBLISHED)[3:]:
        picture(tmp_path / "ILSVRC" / name / "0.png", 1)
    with pytest.raises(FileNotFoundError, match=f"3 of the 100 classes .* first: {next(iter(PUBLISHED))}"):
        source(tmp_path / "ILSVRC").scan()
