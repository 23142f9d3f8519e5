"""Data sets of the shapes that learn2learn has, without learn2learn; the real one is in tests/learn2learn."""

from typing import ClassVar

import numpy as np
import pytest
import torch
from PIL import Image

from psst.datamodules.map_style import Learn2Learn
from psst.images import build_store

PLACE = __name__
PER_CLASS = 3
CLASSES = {"train": 4, "val": 2, "test": 3}


def picture(split, label, item):
    """A constant image that tells where it comes from."""
    color = [40 + 60 * list(CLASSES).index(split), 10 * label, 5 * item]
    return np.broadcast_to(np.array(color, np.uint8), (8, 8, 3)).copy()


FORMS = {
    "pillow": Image.fromarray,
    "uint8 HWC": lambda array: array,
    "uint8 CHW": lambda array: torch.from_numpy(array).permute(2, 0, 1),
    "floats to 1": lambda array: torch.from_numpy(array).permute(2, 0, 1) / 255,
    "floats to 255": lambda array: torch.from_numpy(array).permute(2, 0, 1).float(),
    "float arrays": lambda array: (array / 255).astype(np.float32),
}


class Items:
    """`(image, label)` and nothing else; counts what was read."""

    def __init__(self, split, form="pillow", label=int, reverse=False):
        pairs = [(label, item) for item in range(PER_CLASS) for label in range(CLASSES[split])]
        self.pairs = pairs[::-1] if reverse else pairs
        self.split, self.form, self.label, self.read = split, FORMS[form], label, 0

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, index):
        self.read += 1
        label, item = self.pairs[index]
        return self.form(picture(self.split, label, item)), self.label(label)


class WithTargets(Items):
    @property
    def targets(self):
        return torch.tensor([label for label, _ in self.pairs])


class WithOtherLabels(Items):
    """A list of labels that are not those of the items, and one of something else."""

    labels = property(lambda self: [label + 1 for label, _ in self.pairs])
    data = property(lambda self: [object()] * len(self))


class WithPaths(Items):
    data = property(lambda self: [(f"{item}.jpg", label) for label, item in self.pairs])


class Meta:
    """learn2learn's MetaDataset: labels by item and items by label."""

    def __init__(self, dataset):
        self.dataset = dataset
        self.labels_to_indices = {}
        for index in range(len(dataset)):
            self.labels_to_indices.setdefault(dataset[index][1], []).append(index)
        self.labels = list(self.labels_to_indices)

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        return self.dataset[index]


class Tasks:
    """learn2learn's Taskset: a length of its own, tasks for items, and the data set inside."""

    def __init__(self, dataset):
        self.dataset, self.task_transforms, self.num_tasks = dataset, [], -1

    def __len__(self):
        return 1

    def __getitem__(self, index):
        raise AssertionError("a task was sampled")


class Moded(Items):
    """learn2learn's vision data sets."""

    made: ClassVar[list] = []

    def __init__(self, root, mode="train", transform=None):
        if mode not in ("train", "validation", "test"):
            raise ValueError("mode must be train, validation, or test.")
        Moded.made.append(mode)
        super().__init__({"validation": "val"}.get(mode, mode))


class Single(Items):
    """One data set of all classes."""

    def __init__(self, classes=10):
        super().__init__("train")
        self.pairs = [(label, item) for label in range(classes) for item in range(PER_CLASS)]


def source(data_set, *arguments, **options):
    """The source that the data module makes; `arguments` are those of a class path and its modes."""
    return Learn2Learn(data_set, *arguments, size=8, **options).source()


def data_sets(kind, **options):
    return {split: kind(split, **options) for split in CLASSES}


def check(store):
    """Every image is under its class, whatever form it came in."""
    assert store.splits.keys() == CLASSES.keys()
    for split, count in CLASSES.items():
        names = [store.class_names[i] for i in store.splits[split]]
        assert names == [f"{split}/{label}" for label in range(count)]
        for label, class_id in enumerate(store.splits[split]):
            images = store.images[store.image_ids(int(class_id))]
            expected = [picture(split, label, item) for item in range(PER_CLASS)]
            assert sorted(map(bytes, images)) == sorted(map(bytes, expected))


@pytest.mark.parametrize("form", FORMS)
def test_images_in_every_form(tmp_path, form):
    check(build_store(source(data_sets(Items, form=form)), 8, tmp_path))


@pytest.mark.parametrize("kind", [Items, WithTargets, WithOtherLabels, WithPaths])
@pytest.mark.parametrize("wrap", [lambda data: data, Meta, Tasks, lambda data: Tasks(Meta(data))])
def test_labels_of_every_kind_of_data_set(tmp_path, kind, wrap):
    wrapped = {split: wrap(data) for split, data in data_sets(kind).items()}
    check(build_store(source(wrapped), 8, tmp_path))


@pytest.mark.parametrize("label", [float, np.int64, torch.tensor, lambda label: torch.tensor([label])])
def test_labels_in_every_form(tmp_path, label):
    check(build_store(source(data_sets(Items, label=label)), 8, tmp_path))


@pytest.mark.parametrize("kind", [WithTargets, WithPaths])
def test_labels_that_the_data_set_lists_cost_no_images(kind):
    given = data_sets(kind)
    source(given).scan()
    assert all(data.read <= 3 for data in given.values())


def test_classes_go_by_their_names():
    given = data_sets(WithTargets)
    for split, data in given.items():
        data.classes = [f"{split} bird {i}" for i in range(9)]
    names = {record.class_name for record in source(given).scan()}
    assert {"train bird 3", "val bird 0", "test bird 2"} <= names
    names = {r.class_name for r in source({s: Meta(d) for s, d in given.items()}).scan()}
    assert "train bird 3" in names


def test_numbers_are_no_names_of_classes(tmp_path):
    given = data_sets(WithTargets)
    for data in given.values():
        data.classes = list(range(9))
    check(build_store(source(given), 8, tmp_path))


def test_a_name_in_two_splits_is_refused(tmp_path):
    given = data_sets(WithTargets)
    for data in given.values():
        data.classes = [f"bird {i}" for i in range(9)]
    with pytest.raises(ValueError, match=r"class `bird 0` .* 'train' and in split 'val'"):
        build_store(source(given), 8, tmp_path)


def test_one_data_set_is_divided_by_a_seed_or_by_lists(tmp_path):
    single = source(Single(10))
    records = single.scan()
    counts = {split: len({r.class_name for r in records if r.split == split}) for split in CLASSES}
    assert counts == {"train": 6, "val": 2, "test": 2}
    assert len(records) == 30
    other = source(Single(10), split_seed=1)
    assert other.key(8) != single.key(8)
    (tmp_path / "lists.csv").write_text(
        "class,split\n"
        + "".join(f"{i},{'train' if i < 2 else 'val' if i < 4 else 'test'}\n" for i in range(6))
    )
    listed = source(Single(10), splits=str(tmp_path / "lists.csv")).scan()
    assert [r.class_name for r in listed[::PER_CLASS]] == ["0", "1", "2", "3", "4", "5"]


def test_made_data_sets_are_made_when_needed_and_only_then(tmp_path):
    Moded.made.clear()
    moded = source(f"{PLACE}.Moded", {"root": "data"})
    assert moded.key(8) == source(f"{PLACE}.Moded", {"root": "data"}).key(8)
    assert moded.key(8) != source(f"{PLACE}.Moded", {"root": "other"}).key(8)
    assert not Moded.made
    check(build_store(moded, 8, tmp_path))
    assert Moded.made == ["train", "validation", "test"]
    build_store(source(f"{PLACE}.Moded", {"root": "data"}), 8, tmp_path)
    assert Moded.made == ["train", "validation", "test"]
    single = source(f"{PLACE}.Single", {"classes": 7})
    assert len({record.class_name for record in single.scan()}) == 7


def test_finished_data_sets_are_told_apart_by_what_is_in_them():
    key = source(data_sets(Items)).key(8)
    assert source(data_sets(Items)).key(8) == key
    assert source(data_sets(Items, reverse=True)).key(8) != key
    assert source(data_sets(Items, form="floats to 1")).key(8) != key


class Damaged(WithTargets):
    def __getitem__(self, index):
        if self.split == "val" and index == 4:
            raise OSError("image file is truncated")
        return super().__getitem__(index)


class Normalized(WithTargets):
    def __getitem__(self, index):
        image, label = super().__getitem__(index)
        return (torch.tensor(np.asarray(image)).permute(2, 0, 1) / 255 - 0.5) / 0.2, label


class Random(WithTargets):
    def __getitem__(self, index):
        return np.random.default_rng().integers(0, 256, (8, 8, 3)).astype(np.uint8), self.pairs[index][0]


class WithSets(WithTargets):
    targets = property(lambda self: None)

    def __getitem__(self, index):
        return super().__getitem__(index)[0], [1, 2]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (
            Damaged,
            "1 of 27 images are damaged.*image 4 of .*Damaged of split 'val' cannot be read: image file",
        ),
        (Normalized, r"values from -2.5.* normalization out of the `transform`"),
        (Random, "gives another image each time it is asked; take what is random out"),
        (WithSets, r"a label \[1, 2\] of type list; one class an image is needed"),
    ],
)
def test_what_cannot_be_stored_is_named_and_leaves_nothing(tmp_path, kind, message):
    with pytest.raises(ValueError, match=message):
        build_store(source(data_sets(kind)), 8, tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (
            {"train": [], "test": []},
            ValueError,
            "has the splits train, test; it needs one entry each for train, val",
        ),
        ({"train": [], "val": [], "validation": [], "test": []}, ValueError, "train, val, validation, test"),
        (
            {"train": [], "val": [], "test": []},
            ValueError,
            "list of split 'train' is empty",
        ),
        (iter([]), TypeError, "which lacks `__len__` or `__getitem__`"),
    ],
)
def test_what_is_no_data_set_is_refused(given, error, message):
    with pytest.raises(error, match=message):
        source(given).scan()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("no_such_library.CIFARFS",),
            "`data.init_args.data_set=no_such_library.CIFARFS` cannot be imported",
        ),
        (("CIFARFS",), "`data.init_args.data_set=CIFARFS` cannot be imported"),
        ((f"{PLACE}.Nothing",), "cannot be imported .*no attribute 'Nothing'"),
        ((f"{PLACE}.PLACE",), "is a str, not a class"),
        (
            (f"{PLACE}.Moded",),
            r"Moded` does not take mode='train': TypeError: .*'root'",
        ),
        ((f"{PLACE}.Single", {"class": 3}), "does not take class=3: TypeError: .*unexpected keyword"),
        (
            (f"{PLACE}.Single", {}, {"train": "train"}),
            "`data.init_args.modes` has the splits train; it needs",
        ),
    ],
)
def test_wrong_class_paths_and_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        source(*arguments).scan()


def test_what_the_other_library_raises_is_told_with_the_arguments():
    modes = {"train": "train", "val": "val", "test": "test"}
    moded = source(f"{PLACE}.Moded", {"root": "data"}, modes)
    with pytest.raises(ValueError, match=r"does not take root='data', mode='val': ValueError: mode"):
        moded.scan()


def test_arguments_without_a_lasting_name_are_refused():
    with pytest.raises(ValueError, match="is another text in the next run; make the data sets"):
        source(f"{PLACE}.Moded", {"root": "data", "transform": object()})
