"""Small files of CIFAR-100, CIFAR-FS and FC100 in the real formats: all classes, few images."""

import tarfile
import zipfile
from io import BytesIO

import numpy as np
from PIL import Image

from psst.datamodules.cifar_100 import CifarFS
from tests.images.python2_pickles import python2

NAMES = sorted(CifarFS.published)


def images(seed, count=200):
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), np.uint8)


def batch(seed):
    """Two images a class, as rows of red, then green, then blue."""
    rows = images(seed).transpose(0, 3, 1, 2).reshape(200, 3072)
    labels = [i % 100 for i in range(200)]
    return {"data": rows, "fine_labels": labels, "coarse_labels": [0] * 200, "batch_label": "b"}


def write_cifar100(root, dump=python2):
    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    (folder / "meta").write_bytes(dump({"fine_label_names": NAMES, "coarse_label_names": ["x"]}))
    for seed, part in enumerate(("train", "test")):
        (folder / part).write_bytes(dump(batch(seed)))
    return root


def to_archive(root):
    with tarfile.open(root / "cifar-100-python.tar.gz", "w:gz") as archive:
        archive.add(root / "cifar-100-python", "cifar-100-python")
    for path in (root / "cifar-100-python").iterdir():
        path.unlink()
    (root / "cifar-100-python").rmdir()
    return root


def write_pickles(root, stem, splits, numbers, dump):
    root.mkdir()
    for seed, split in enumerate(("train", "val", "test")):
        labels = [numbers(name) for name in NAMES if splits[name] == split] * 2
        content = {"data": images(seed, len(labels)), "labels": labels}
        (root / f"{stem}_{split}.pickle").write_bytes(dump(content))
    return root


def write_zip(root):
    root.mkdir()
    with zipfile.ZipFile(root / "cifar100.zip", "w") as archive:
        for number, name in enumerate(NAMES):
            for i in range(2):
                buffer = BytesIO()
                Image.fromarray(np.full((32, 32, 3), (number, i, 0), np.uint8)).save(buffer, "PNG")
                archive.writestr(f"cifar100/data/{name}/{name}_s_{i:06}.png", buffer.getvalue())
        for split in ("train", "val", "test"):
            lines = [name for name in NAMES if CifarFS.published[name] == split]
            archive.writestr(f"cifar100/splits/bertinetto/{split}.txt", "\n".join(lines))
    return root
