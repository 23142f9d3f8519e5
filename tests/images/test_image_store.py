import json
import multiprocessing
import pickle

import numpy as np
import pytest

from psst.images import FORMAT_VERSION, ImageRecord, ImageStore, build_store


class Noise:
    """Twelve seeded images: three classes, two of them grouped."""

    name, channels = "noise", 3

    def key(self, size):
        return {}

    def scan(self):
        places = {"a": ("train", None), "b": ("val", "left"), "c": ("val", "right")}
        return [ImageRecord(name, places[name][0], i, places[name][1]) for i, name in enumerate("cab" * 4)]

    def decode(self, record, size):
        return np.random.default_rng(record.reference).integers(0, 256, (size, size, 3), dtype=np.uint8)


@pytest.fixture
def store(tmp_path):
    return build_store(Noise(), 5, tmp_path)


def total_and_shape(store):
    return int(store.images.astype(np.int64).sum()), store.image_shape


def test_store_holds_what_the_source_gave(store):
    for i, record in enumerate(Noise().scan()):
        np.testing.assert_array_equal(store.images[i], Noise().decode(record, 5))
        assert store.class_names[store.labels[i]] == record.class_name
    assert store.image_shape == (3, 5, 5)
    assert not store.images.flags.writeable
    assert {split: [store.class_names[i] for i in ids] for split, ids in store.splits.items()} == {
        "train": ["a"],
        "val": ["c", "b"],
        "test": [],
    }
    assert {name: ids.tolist() for name, ids in store.groups["val"].items()} == {"right": [0], "left": [2]}
    assert "train" not in store.groups


def test_image_ids_partition_the_images(store):
    ids = [store.image_ids(class_id) for class_id in range(3)]
    assert sorted(np.concatenate(ids).tolist()) == list(range(12))
    assert all((store.labels[ids[class_id]] == class_id).all() for class_id in range(3))
    with pytest.raises(ValueError, match=r"class_id=3` is not in \[0, 2\]"):
        store.image_ids(3)


def test_mean_and_std_are_those_of_the_train_split(store):
    train = store.images[np.isin(store.labels, store.splits["train"])] / 255.0
    np.testing.assert_allclose(store.mean, train.mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(store.std, train.std(axis=(0, 1, 2)), rtol=1e-9)


def test_statistics_are_exact_for_bright_images_of_several_batches(tmp_path):
    """The largest sums that a batch can have, and a batch that is part train, part validation."""

    class Bright(Noise):
        def scan(self):
            return [ImageRecord(*(("a", "train") if i < 150 else ("b", "val")), i) for i in range(200)]

        def decode(self, record, size):
            return np.full((size, size, 3), (255, 255 - record.reference % 2, record.reference % 7), np.uint8)

    store = build_store(Bright(), 84, tmp_path)
    train = store.images[:150, 0, 0] / 255.0
    np.testing.assert_allclose(store.mean, train.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(store.std, train.std(axis=0), rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("shape", [(), (3,), (2, 1, 3)])
@pytest.mark.parametrize("channels", [1, 3])
def test_read_returns_planes_in_the_shape_of_the_ids(tmp_path, shape, channels):
    class Shades(Noise):
        def decode(self, record, size):
            return super().decode(record, size)[..., :channels]

    Shades.channels = channels
    store = build_store(Shades(), 5, tmp_path)
    ids = np.random.default_rng(0).integers(0, 12, shape)
    read = store.read(ids)
    assert read.shape == (*shape, channels, 5, 5)
    assert read.flags.c_contiguous
    assert read.flags.writeable
    np.testing.assert_array_equal(read, np.moveaxis(np.asarray(store.images[ids]), -1, -3))


class Partly(Noise):
    """Every second image has no class."""

    name = "partly"

    def scan(self):
        unlabeled = [ImageRecord("", "unlabeled", 100 + i) for i in range(12)]
        return [record for pair in zip(super().scan(), unlabeled, strict=True) for record in pair]


def test_unlabeled_images_belong_to_no_class_and_no_statistics(tmp_path, store):
    partly = build_store(Partly(), 5, tmp_path)
    assert partly.unlabeled.tolist() == list(range(1, 24, 2))
    assert (partly.labels[partly.unlabeled] == -1).all()
    assert partly.class_names == store.class_names
    for class_id in range(3):
        np.testing.assert_array_equal(partly.image_ids(class_id), 2 * store.image_ids(class_id))
    assert (partly.mean, partly.std) == (store.mean, store.std)
    assert partly.meta["splits"] == store.meta["splits"]
    assert len(store.unlabeled) == 0


def test_store_of_the_first_release_opens(store):
    """It has pixels by row and column, and its meta.json lacks what came later."""
    images, read = np.array(store.images), store.read(np.arange(12))
    np.save(store.folder / "images.npy", images)
    path = store.folder / "meta.json"
    meta = json.loads(path.read_text())
    del meta["duplicates"]
    path.write_text(json.dumps({**meta, "format": 1}))
    again = build_store(Noise(), 5, store.folder.parent)
    assert again.folder == store.folder
    assert again.duplicates == []
    assert again.image_shape == store.image_shape
    np.testing.assert_array_equal(again.images, images)
    np.testing.assert_array_equal(again.read(np.arange(12)), read)


def test_pickling_carries_the_folder_only(store):
    data = pickle.dumps(store)
    assert len(data) < 1000
    np.testing.assert_array_equal(pickle.loads(data).images, store.images)


def test_spawned_worker_reads_the_same_images(store):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(total_and_shape, (store,)) == total_and_shape(store)


def test_verify_finds_one_changed_byte(store):
    store.verify()
    with (store.folder / "images.npy").open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)[0]
        file.seek(-1, 2)
        file.write(bytes([last ^ 1]))
    with pytest.raises(ValueError, match=r"images.npy` has sha256 .* delete the folder"):
        store.verify()


def test_newer_format_is_refused_by_name(store):
    meta = json.loads((store.folder / "meta.json").read_text())
    (store.folder / "meta.json").write_text(json.dumps({**meta, "format": FORMAT_VERSION + 1}))
    with pytest.raises(ValueError, match=rf"format {FORMAT_VERSION + 1}, this psst reads up to format"):
        ImageStore.open(store.folder)


def test_truncated_array_is_refused(store):
    data = (store.folder / "images.npy").read_bytes()
    (store.folder / "images.npy").write_bytes(data[:-10])
    with pytest.raises(ValueError, match=r"is damaged .* delete the folder"):
        ImageStore.open(store.folder)


def test_array_of_another_store_is_refused(store):
    np.save(store.folder / "images.npy", np.zeros((2, 5, 5, 3), np.uint8))
    with pytest.raises(ValueError, match=r"holds images \[2, 5, 5, 3\]"):
        ImageStore.open(store.folder)


def test_unreadable_meta_is_refused(store):
    (store.folder / "meta.json").write_text("{")
    with pytest.raises(ValueError, match=r"meta.json` is damaged"):
        ImageStore.open(store.folder)


def test_incomplete_meta_is_refused(store):
    meta = json.loads((store.folder / "meta.json").read_text())
    del meta["splits"]
    (store.folder / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(ValueError, match=r"meta.json` is damaged \(splits is missing\)"):
        ImageStore.open(store.folder)


def test_newer_format_is_refused_by_a_build_too_and_kept(store):
    meta = json.loads((store.folder / "meta.json").read_text())
    (store.folder / "meta.json").write_text(json.dumps({**meta, "format": FORMAT_VERSION + 1}))
    with pytest.raises(ValueError, match=r"upgrade psst-fewshot, or use another `data.init_args.cache_dir`"):
        build_store(Noise(), 5, store.folder.parent)
    assert (store.folder / "images.npy").exists()


def test_folder_without_a_store_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no finished store .*psst data prepare"):
        ImageStore.open(tmp_path)
