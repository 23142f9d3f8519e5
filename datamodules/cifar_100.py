"""CIFAR-100 in two published class splits: CIFAR-FS and FC100, in the layouts in which they are found."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from psst.datamodules.episodic import InLayouts
from psst.images.files.archives import archive_entries
from psst.images.files.download import RemoteFile
from psst.images.files.unpickle import load
from psst.images.sources.array_images import ArraySource, Pixels, label_array, require_keys
from psst.images.sources.image_tree import ImageTree
from psst.images.sources.layout import Layout, category_layout, published_layout, published_rows

_FOLDER = "cifar-100-python"
_ARCHIVE, _HOME = "cifar-100-python.tar.gz", "https://www.cs.toronto.edu/~kriz/"
_PARTS = ("meta", "train", "test")
_SIDE = 32
_ZIPS = ("cifar100.zip", "cifarfs.zip", "cifar-fs.zip", "CIFAR-FS.zip")


def _place(root: Path) -> Path:
    """Find the folder in ``root``, or ``root`` itself if it is that, or else where the archive would be."""
    if all((root / part).is_file() for part in _PARTS):
        return root
    return root / (_FOLDER if (root / _FOLDER).exists() else _ARCHIVE)


def _files(root: Path) -> list[Path]:
    """Return those of the three files that the folder holds, or the archive."""
    place = _place(root)
    return [place] if place.is_file() else [path for part in _PARTS if (path := place / part).is_file()]


def _parts(root: Path, split_of: Mapping[str, str]) -> Iterator[tuple[Pixels, list[str], Mapping[str, str]]]:
    """Open the two files of images; they take 190 MB of memory during the build."""
    place = _place(root)
    found = archive_entries(place) if place.is_file() else ImageTree.grow_whole(place).entries()
    entries = {PurePosixPath(entry.name).name: entry for entry in found}
    if missing := [part for part in _PARTS if part not in entries]:
        raise FileNotFoundError(f"`{place}` lacks the file {missing[0]}; get `{_ARCHIVE}` again.")
    meta, *batches = (entries[part] for part in _PARTS)
    (names,) = require_keys(load(meta.read(), str(meta)), ("fine_label_names",), str(meta))
    if unknown := sorted(set(map(str, names)) ^ split_of.keys()):
        raise ValueError(f"the classes of `{meta}` are not those of CIFAR-100, first: {unknown[0]}.")
    for batch in batches:
        file = str(batch)
        data, labels = require_keys(load(batch.read(), file), ("data", "fine_labels"), file)
        numbers = label_array(labels, file)
        if numbers.min(initial=0) < 0 or numbers.max(initial=0) >= len(names):
            raise ValueError(f"`{file}` has labels outside 0 to {len(names) - 1}; download it again.")
        if not isinstance(data, np.ndarray) or data.ndim != 2 or data.shape[1] != 3 * _SIDE**2:
            shape = list(data.shape) if isinstance(data, np.ndarray) else type(data).__name__
            raise ValueError(
                f"`data` of `{file}` is {shape}; expected [n, {3 * _SIDE**2}]; download it again."
            )
        # rows of 1024 red, 1024 green and 1024 blue values
        pixels = Pixels(file, data.reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1))
        yield pixels, [str(names[i]) for i in numbers.tolist()], split_of


def _layouts(name: str, splits: Mapping[str, str]) -> tuple[Layout, ...]:
    """Return CIFAR-100 for Python, pickles of MetaOptNet, folders of the classes."""
    numbered: dict[str, dict[int, str]] = {}  # split -> number of a class in CIFAR-100 -> class
    for number, label in enumerate(sorted(splits)):
        numbered.setdefault(splits[label], {})[number] = label
    pickles = " and ".join(f"{name.upper()}_{split}.pickle" for split in ("train", "val", "test"))
    return (
        Layout(
            f"{_ARCHIVE} or the folder {_FOLDER} that is in it",
            lambda root: _place(root).exists(),
            lambda root: ArraySource(root, name, _files, partial(_parts, split_of=splits)),
        ),
        category_layout(name, name, pickles, numbered),
        published_layout(
            name, splits, "cifar100.zip, or the folders cifar100/data/<class> that are in it", _ZIPS
        ),
    )


class _DividedCifar100(InLayouts):
    remote = (RemoteFile(_ARCHIVE, (_HOME + _ARCHIVE,), "md5:eb9058c3a382ffc7106e4002c42a8d85"),)
    manual = f"Get {_ARCHIVE} from {_HOME}cifar.html; no need to unpack it."

    def __init__(self, root: str, size: int = _SIDE, **shared: Any) -> None:
        super().__init__(root, size, **shared)


class CifarFS(_DividedCifar100):
    """CIFAR-FS (Bertinetto et al., ICLR 2019), 64/16/20 classes drawn at random, 600 images each, 32 x 32.

    What `root` holds decides, in this order:

    * CIFAR-100 for Python, as torchvision keeps it: cifar-100-python.tar.gz or the folder cifar-100-python;
      its training and test images are pooled;
    * the pickles CIFAR_FS_train.pickle, CIFAR_FS_val.pickle and CIFAR_FS_test.pickle of MetaOptNet;
    * the archive of the authors, cifar100.zip, or folders named by the 100 classes, at any depth.

    Args:
        root: the folder.
        size: side length in pixels; 32 is that of the images.
        **shared: see `EpisodicDataModule`; `download` gets cifar-100-python.tar.gz, 169 MB.

    Example:
        ``CifarFS("data/cifar", episodes=Episodes(way=5, shot=1), download=True)``
    """

    published: Mapping[str, str] = {name: split for name, _, split, _ in published_rows("cifar100.txt")}
    layouts = _layouts("cifar_fs", published)


class FC100(_DividedCifar100):
    """FC100 (Oreshkin et al., NeurIPS 2018), 60/20/20 classes of 12/4/4 superclasses, 600 images each.

    As `CifarFS`, with the pickles FC100_train.pickle, FC100_val.pickle and FC100_test.pickle of MetaOptNet
    and learn2learn.

    Args:
        root: the folder.
        size: side length in pixels; 32 is that of the images.
        **shared: see `EpisodicDataModule`; `download` gets cifar-100-python.tar.gz, 169 MB.

    Example:
        ``FC100("data/cifar", episodes=Episodes(shot=5), download=True)``
    """

    published: Mapping[str, str] = {name: split for name, _, _, split in published_rows("cifar100.txt")}
    layouts = _layouts("fc100", published)
