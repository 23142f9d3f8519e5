"""torchvision's own classes, on small files in their formats made here."""

import hashlib
import os
import pickle
import struct
import sys
from collections import Counter

import numpy as np
import pytest
import torch
from folders import put_classes, splits_of
from PIL import Image
from torchvision import datasets, transforms

from psst.datamodules.map_style import TorchvisionData
from psst.images import ImageRecord, build_store
from psst.images.decode import to_pillow
from psst.images.sources.map_style import MapStyleSource

TEN = [f"c{i}" for i in range(10)]


def put_idx(path, values):
    """Write MNIST's format: two zeros, the code of uint8, the number of axes, their lengths, the values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = struct.pack(f">{values.ndim}i", *values.shape)
    path.write_bytes(bytes([0, 0, 8, values.ndim]) + shape + values.astype(np.uint8).tobytes())


def put_mnist(root, name="MNIST", per_class=3, prefix=""):
    """Ten classes; the pixels of an image hold its label, half, and its number."""
    for half, kind in enumerate((f"{prefix}train", "t10k" if not prefix else f"{prefix}test")):
        labels = np.arange(10 * per_class) % 10
        images = np.zeros((len(labels), 28, 28), np.uint8)
        images[:, 0, :3] = np.stack([labels, np.full_like(labels, half), np.arange(len(labels))], axis=1)
        put_idx(root / name / "raw" / f"{kind}-images-idx3-ubyte", images)
        put_idx(root / name / "raw" / f"{kind}-labels-idx1-ubyte", labels)
    return root


def pooled(data_sets, **options):
    return MapStyleSource({"": data_sets}, "torchvision", **options)


def made(data_set, **options):
    """The source that the data module makes of a class and its arguments."""
    return TorchvisionData(data_set, size=8, **options).source()


def list_labels(data_set):
    (items,) = pooled([data_set]).parts
    return items.labels


class Pairs:
    """A data set that torchvision did not make."""

    def __init__(self, items, **attributes):
        self.items = items
        self.looks = 0
        vars(self).update(attributes)

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        self.looks += 1
        return self.items[i]


def gray(value, size=6):
    return Image.new("L", (size, size), value)


def test_both_halves_of_mnist_are_pooled_and_its_classes_divided(tmp_path):
    source = made("MNIST", root=str(put_mnist(tmp_path)), channels=1)
    halves = [part.data for part in source.parts]
    records = source.scan()
    assert Counter(record.class_name for record in records) == dict.fromkeys(halves[0].classes, 6)
    assert {split: len(names) for split, names in splits_of(records).items()} == {
        "train": 6,
        "val": 2,
        "test": 2,
    }
    for record in records:
        label, half, number = source.decode(record, 28)[0, :3, 0].tolist()
        assert halves[0].classes[label] == record.class_name
        assert (half, number) == record.reference


def test_emnist_takes_its_split_and_both_halves(tmp_path):
    put_mnist(tmp_path, "EMNIST", prefix="emnist-digits-")
    path = "torchvision.datasets.EMNIST"
    source = made(path, root=str(tmp_path), arguments={"split": "digits"}, channels=1)
    assert Counter(record.class_name for record in source.scan()) == dict.fromkeys(map(str, range(10)), 6)


def put_cifar(root, half, labels):
    """Write one pickle of CIFAR-100 and return its md5, which torchvision compares."""
    pixels = np.zeros((len(labels), 3, 32, 32), np.uint8)
    pixels[:, 0] = np.array(labels, np.uint8)[:, None, None]
    content = {
        "data": pixels.reshape(len(labels), -1),
        "fine_labels": list(labels),
        "coarse_labels": [0] * len(labels),
    }
    data = pickle.dumps(content, protocol=2)
    root.mkdir(parents=True, exist_ok=True)
    (root / half).write_bytes(data)
    return hashlib.md5(data).hexdigest()


def test_cifar_100_format(tmp_path, monkeypatch):
    """torchvision's class with the checksums of these files: red is the label."""
    folder = tmp_path / datasets.CIFAR100.base_folder
    names = [f"name{i}" for i in range(10)]
    sums = {half: put_cifar(folder, half, [i % 10 for i in range(30)]) for half in ("train", "test")}
    meta = pickle.dumps({"fine_label_names": names}, protocol=2)
    (folder / "meta").write_bytes(meta)

    for half in sums:
        monkeypatch.setattr(datasets.CIFAR100, f"{half}_list", [[half, sums[half]]])
    checked = {**datasets.CIFAR100.meta, "md5": hashlib.md5(meta).hexdigest()}
    monkeypatch.setattr(datasets.CIFAR100, "meta", checked)
    source = made("CIFAR100", root=str(tmp_path))
    records = source.scan()
    assert Counter(record.class_name for record in records) == dict.fromkeys(names, 6)
    assert all(source.decode(r, 8)[4, 4].tolist() == [int(r.class_name[4:]), 0, 0] for r in records[::7])


def test_aircraft_parts_are_pooled(tmp_path):
    """FGVCAircraft keeps lists of files and labels, and class names with spaces and slashes."""
    data = tmp_path / "fgvc-aircraft-2013b" / "data"
    names = ["F/A-18", "Falcon 900", "A340-200", "DC-3", "Spitfire", "Yak-42"]
    (data / "images").mkdir(parents=True)
    (data / "variants.txt").write_text("\n".join(names))
    for p, part in enumerate(("trainval", "test")):
        lines = [f"{p}{i:03} {name}" for i, name in enumerate(names)]
        (data / f"images_variant_{part}.txt").write_text("\n".join(lines))
        for i in range(len(names)):
            Image.new("RGB", (12, 9), (i, p, 0)).save(data / "images" / f"{p}{i:03}.jpg", quality=100)
    parts = [{"split": "trainval"}, {"split": "test"}]
    records = made("FGVCAircraft", root=str(tmp_path), parts=parts).scan()
    assert Counter(record.class_name for record in records) == dict.fromkeys(names, 2)


def test_parts_with_other_classes_are_told_apart_by_their_names():
    """As in Omniglot, whose label 0 is one character in the background set, another in the other."""
    parts = [
        Pairs([(gray(i), i) for i in range(3)], _characters=[f"{p}/{i}" for i in range(3)]) for p in "ab"
    ]
    assert len({record.class_name for record in pooled(parts, channels=1).scan()}) == 6


def test_image_folder_is_read_as_it_is(tmp_path):
    root = put_classes(tmp_path / "root", TEN)
    source = pooled([datasets.ImageFolder(root)])
    records = source.scan()
    assert sorted({record.class_name for record in records}) == TEN
    expected = np.asarray(Image.open(root / records[0].class_name / f"{records[0].class_name}_0.png"))
    np.testing.assert_array_equal(source.decode(records[0], 8), expected)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have UTF-8 names only")
def test_image_folder_with_names_that_are_not_utf8(tmp_path):
    root = put_classes(tmp_path / "root", TEN)
    (root / "c0").rename(root / os.fsdecode(b"caf\xe9"))
    source = pooled([datasets.ImageFolder(root)])
    assert "caf\\xe9" in build_store(source, 4, tmp_path / "cache").class_names
    (root / os.fsdecode(b"caf\xe9") / "c0_1.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"caf\\xe9/c0_1.png` cannot be read"):
        build_store(pooled([datasets.ImageFolder(root)]), 4, tmp_path / "cache")


def test_fake_data_have_labels_in_their_items_only():
    """And set the seed of the whole process when asked for an image: threads take turns."""
    source = pooled([datasets.FakeData(40, (3, 8, 8), 10)])
    records = source.scan()
    assert len(records) == 40
    assert {record.class_name for record in records} <= {str(i) for i in range(10)}
    expected = [np.asarray(datasets.FakeData(40, (3, 8, 8), 10)[r.reference[1]][0]) for r in records]
    stores = [np.stack([source.decode(record, 8) for record in records]) for _ in range(2)]
    np.testing.assert_array_equal(stores[0], expected)
    np.testing.assert_array_equal(stores[1], expected)


def test_fake_data_are_stored_alike_by_any_number_of_threads(tmp_path):
    sums = {
        build_store(pooled([datasets.FakeData(100, (3, 16, 16), 10)]), 8, tmp_path / str(n), workers=n).meta[
            "sha256"
        ]["images.npy"]
        for n in (1, 8)
    }
    assert len(sums) == 1


@pytest.mark.parametrize("attribute", ["targets", "_labels", "labels", "y"])
@pytest.mark.parametrize("kind", [list, np.array, torch.tensor])
def test_labels_come_from_an_attribute(attribute, kind):
    labels = [i % 4 for i in range(20)]
    data_set = Pairs([(gray(i), label) for i, label in enumerate(labels)], **{attribute: kind(labels)})
    assert list_labels(data_set) == labels
    assert data_set.looks == 2


def test_labels_come_from_pairs():
    labels = [i % 4 for i in range(20)]
    data_set = Pairs([(gray(0), i) for i in labels], _samples=[("file", i) for i in labels])
    assert list_labels(data_set) == labels
    assert data_set.looks == 2


@pytest.mark.parametrize(
    "attributes", [{}, {"targets": [9] * 20}, {"targets": [1]}, {"labels": [[1, 2]] * 20}, {"y": ["a"] * 20}]
)
def test_an_attribute_that_holds_something_else_is_not_believed(attributes):
    labels = [i % 4 for i in range(20)]
    assert list_labels(Pairs([(gray(0), i) for i in labels], **attributes)) == labels


def test_target_transform_counts(tmp_path):
    data_set = datasets.MNIST(put_mnist(tmp_path), target_transform=lambda label: label // 5)
    assert set(list_labels(data_set)) == {0, 1}


def test_labels_below_zero_are_unlabeled():
    """As in STL10."""
    labels = [*range(6), -1, -1]
    source = pooled([Pairs([(gray(i), i) for i in labels], labels=np.array(labels))], channels=1)
    assert [(r.class_name, r.split) for r in source.scan()[6:]] == [("", "unlabeled")] * 2


def test_equal_class_names_are_told_apart():
    """ImageNet has two cranes, and names classes by tuples of synonyms."""
    names = [("crane",), ("crane",), ("tench", "Tinca tinca"), "d", "e", "f"]
    source = pooled([Pairs([(gray(i), i) for i in range(6)], classes=names)], channels=1)
    assert sorted({record.class_name for record in source.scan()}) == [
        *("crane (0)", "crane (1)", "d", "e", "f"),
        "tench, Tinca tinca",
    ]


def test_lists_of_class_names(tmp_path):
    lists = tmp_path / "lists.csv"
    lists.write_text(
        "class,split\n" + "".join(f"c{i},{s}\n" for i, s in enumerate(["train", "val", "test", "test"]))
    )
    source = pooled([datasets.ImageFolder(put_classes(tmp_path / "root", TEN))], splits=str(lists))
    assert splits_of(source.scan()) == {"train": ["c0"], "val": ["c1"], "test": ["c2", "c3"]}


PIXELS = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(PIXELS),
        PIXELS,
        PIXELS / np.float32(255),
        torch.from_numpy(PIXELS).permute(2, 0, 1),
        torch.from_numpy(PIXELS).permute(2, 0, 1) / 255,
        transforms.ToTensor()(Image.fromarray(PIXELS)),
    ],
)
def test_images_of_any_kind(image):
    np.testing.assert_array_equal(np.asarray(to_pillow(image)), PIXELS)


def test_gray_images_of_any_kind():
    for image in (PIXELS[:, :, 0], PIXELS[:, :, :1], torch.from_numpy(PIXELS)[None, :, :, 0]):
        np.testing.assert_array_equal(np.asarray(to_pillow(image)), PIXELS[:, :, 0])


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([], r"Pairs is empty"),
        ([("text", 0)], r"not an image and a class \(a str is no image"),
        ([gray(0)], r"items of .*Pairs are not an image and a class"),
        ([(gray(0), {"boxes": []})], r"not an image and a class"),
        ([(gray(0), 0.5)], r"a label 0.5 of type float; one class an image is needed"),
        ([(np.full((4, 4), -1.0), 0)], r"values from -1 to -1 are not within .*; take any normalization out"),
        ([(np.zeros((5, 5, 7), np.uint8), 0)], r"shape \[5, 5, 7\]"),
        ([(np.full((4, 4), 300), 0)], r"values from 300 to 300 are not within 0 and 255"),
    ],
)
def test_data_sets_of_something_else_are_refused(items, message):
    with pytest.raises(ValueError, match=message):
        pooled([Pairs(items)]).scan()


def test_random_transforms_are_refused(tmp_path):
    data_set = datasets.ImageFolder(
        put_classes(tmp_path, TEN), transform=lambda image: transforms.ToTensor()(image) * torch.rand(())
    )
    with pytest.raises(ValueError, match=r"gives another image each time .* take what is random out"):
        pooled([data_set]).scan()


def test_damaged_file_is_named(tmp_path):
    root = put_classes(tmp_path / "root", TEN)
    (root / "c4" / "c4_1.png").write_bytes((root / "c4" / "c4_1.png").read_bytes()[:30])
    with pytest.raises(ValueError, match=r"1 of 30 images are damaged.*c4/c4_1.png` cannot be read"):
        build_store(pooled([datasets.ImageFolder(root)]), 4, tmp_path / "cache")


def test_key_follows_the_content(tmp_path):
    def key(root, **options):
        return made("MNIST", root=str(root), **options).key(8) | {"arguments": None}

    first = key(put_mnist(tmp_path / "a"))
    assert key(put_mnist(tmp_path / "b")) == first
    assert key(put_mnist(tmp_path / "c", per_class=4)) != first
    assert key(tmp_path / "a", split_seed=1) != first
    changed = put_mnist(tmp_path / "d") / "MNIST" / "raw" / "train-images-idx3-ubyte"
    data = bytearray(changed.read_bytes())
    data[2000] ^= 1
    changed.write_bytes(data)
    assert key(tmp_path / "d") != first


def test_key_follows_files(tmp_path):
    root = put_classes(tmp_path, TEN)
    first = pooled([datasets.ImageFolder(root)]).key(8)
    assert pooled([datasets.ImageFolder(root)]).key(8) == first
    assert pooled([datasets.ImageFolder(root, transform=transforms.Resize(4))]).key(8) != first
    put_classes(root, ["c0"], images=4)
    assert pooled([datasets.ImageFolder(root)]).key(8) != first


def test_exif_rotation_is_applied(tmp_path):
    root = put_classes(tmp_path, TEN)
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[0] = 255
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(pixels).save(root / "c0" / "c0_0.png", exif=exif)
    source = pooled([datasets.ImageFolder(root)])
    np.testing.assert_array_equal(source.decode(ImageRecord("c0", "train", (0, 0)), 4), pixels[::-1])


@pytest.mark.parametrize(
    ("data_set", "arguments", "parts", "message"),
    [
        (
            "CIFAR1000",
            {},
            None,
            r"`data.init_args.data_set=CIFAR1000` cannot be imported .* for example torchvision",
        ),
        ("nowhere.Data", {}, None, r"cannot be imported \(No module named 'nowhere'\)"),
        ("math.pi", {}, None, r"is a float, not a class"),
        ("CIFAR100", {"rot": "data"}, None, r"does not take rot='data', train=True: .*it takes \(root"),
        ("CIFAR100", {"root": "x"}, [{"halves": 2}], r"does not take root='x', halves=2"),
        ("Flowers102", {"root": "x"}, None, r"comes in parts; .*`data.init_args.parts=\[\{split: train\}, "),
        (
            "Flowers102",
            {"root": "x"},
            [{"split": "dev"}],
            r"does not take root='x', split='dev': .*Unknown value 'dev'",
        ),
        ("CIFAR100", {}, None, r"does not take train=True: .*'root'"),
    ],
)
def test_wrong_arguments_are_named(data_set, arguments, parts, message):
    with pytest.raises(ValueError, match=message):
        made(data_set, arguments=arguments, parts=parts).scan()


def test_missing_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"CIFAR100` with root='.*download=true` if it can"):
        made("CIFAR100", root=str(tmp_path)).scan()
