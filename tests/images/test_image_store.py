import json
import multiprocessing
import pickle

import numpy as np
import pytest

from psst.images import ImageRecord, ImageStore, build_store


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


class Tracks(Noise):
    """Tracks of four frames: two in a class, one over validation and test, one image without a track."""

    name = "tracks"

    def __init__(self, rows):
        self.rows = rows

    def scan(self):
        return [ImageRecord(*row[:2], i, image_group=row[2]) for i, row in enumerate(self.rows)]


TRACKS = [
    *[("a", "train", "t1")] * 3,
    *[("a", "train", "t2")] * 2,
    ("", "unlabeled", "t1"),
    ("a", "train", None),
    *[("b", "val", "t3")] * 2,
    *[("c", "test", "t4")] * 2,
]


def test_groups_of_images_are_numbered_in_order_of_appearance(tmp_path, store):
    tracks = build_store(Tracks(TRACKS), 5, tmp_path)
    assert tracks.image_groups.tolist() == [0, 0, 0, 1, 1, 0, -1, 2, 2, 3, 3]
    assert tracks.n_image_groups == tracks.meta["n_image_groups"] == 4
    assert (store.n_image_groups, set(store.image_groups)) == (0, {-1})


def test_a_group_over_two_splits_stays_where_most_of_it_is(tmp_path):
    rows = [*TRACKS, ("b", "val", "t1"), ("c", "test", "t3"), ("", "unlabeled", "t4"), ("c", "test", "t4")]
    message = r"3 groups of images .* in two splits; 3 of 15 .* left out.*`t1` \(4 in train, 1 in val\)"
    with pytest.warns(UserWarning, match=message) as caught:
        store = build_store(Tracks(rows), 5, tmp_path)
    assert caught[0].filename == __file__
    np.testing.assert_array_equal(
        store.images[11], Noise().decode(ImageRecord("c", "test", 14), 5)
    )  # the rest is decoded
    assert len(store) == 12
    splits = np.full(len(store), "unlabeled")
    for split, ids in store.splits.items():
        splits[np.isin(store.labels, ids)] = split
    splits[splits == "unlabeled"] = "train"
    for group in range(store.n_image_groups):
        assert len(set(splits[store.image_groups == group])) == 1


def test_a_class_all_of_whose_groups_lie_elsewhere_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"all images of class `d` of tracks are of groups .* such as `t1`"):
        build_store(Tracks([*TRACKS, ("d", "val", "t1")]), 5, tmp_path)
    assert list(tmp_path.iterdir()) == [] or not list(tmp_path.glob("*/meta.json"))


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


def test_verify_finds_a_class_that_changed_its_split(store):
    path = store.folder / "meta.json"
    meta = json.loads(path.read_text())
    meta["splits"]["val"], meta["splits"]["test"] = [], meta["splits"]["val"]
    path.write_text(json.dumps(meta))
    with pytest.raises(ValueError, match=r"meta.json` has sha256 .* delete the folder"):
        ImageStore(store.folder).verify()


@pytest.mark.parametrize(
    ("version", "way_out"), [(ImageStore.format_version + 1, "upgrade psst-fewshot, or "), (2, "")]
)
def test_another_format_is_refused_by_name_and_kept(store, version, way_out):
    meta = json.loads((store.folder / "meta.json").read_text())
    (store.folder / "meta.json").write_text(json.dumps({**meta, "format": version}))
    reads = f"this psst reads format {ImageStore.format_version}"
    message = f"has format {version}, {reads}; {way_out}delete the folder"
    for opened in (ImageStore, lambda folder: build_store(Noise(), 5, folder.parent)):
        with pytest.raises(ValueError, match=message):
            opened(store.folder)
    assert (store.folder / "images.npy").exists()


def test_truncated_array_is_refused(store):
    data = (store.folder / "images.npy").read_bytes()
    (store.folder / "images.npy").write_bytes(data[:-10])
    with pytest.raises(ValueError, match=r"is damaged .* delete the folder"):
        ImageStore(store.folder)


def test_array_of_another_store_is_refused(store):
    np.save(store.folder / "images.npy", np.zeros((2, 5, 5, 3), np.uint8))
    with pytest.raises(ValueError, match=r"its images are \[2, 5, 5, 3\]"):
        ImageStore(store.folder)


def test_unreadable_meta_is_refused(store):
    (store.folder / "meta.json").write_text("{")
    with pytest.raises(ValueError, match=r"the store `.*` is damaged"):
        ImageStore(store.folder)


def test_incomplete_meta_is_refused(store):
    meta = json.loads((store.folder / "meta.json").read_text())
    del meta["splits"]
    (store.folder / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(ValueError, match=r"the store `.*` is damaged \('splits'\)"):
        ImageStore(store.folder)


def test_folder_without_a_store_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no finished store .*psst data prepare"):
        ImageStore(tmp_path)
