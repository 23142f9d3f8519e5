"""Decoded images on disk, read by memory map."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from psst.files import read_json

_AGAIN = "delete the folder and prepare the data again, or use another `data.init_args.cache_dir`"


class ImageStore:
    """Every image of a data set at one size, with class names, splits and groups.

    Workers and ranks that open the same folder share one copy in memory; pickling stores the folder only.

    Attributes:
        folder: where the store lies.
        images: ``[n, H, W, C]`` uint8, memory-mapped, read only; `read` is the fast way to many of them.
        labels: ``[n]`` int64, the class id of each image, -1 without a class.
        image_groups: ``[n]`` int64; images with one number show the same thing, -1 stands for itself.
        n_image_groups: how many such groups there are.
        unlabeled: ids of the images without a class, ascending; extra material for self-supervised tasks.
        class_names: name of each class id.
        splits: class ids of "train", "val" and "test".
        groups: split -> name of a group of classes -> class ids; a split without groups has no entry.
        mean: per channel, of the train split, images scaled to [0, 1].
        std: as ``mean``.
        duplicates: groups of equal images in two splits or classes, see `find_duplicates`.
        meta: all of meta.json.

    Example:
        >>> store = build_store(FolderSource("birds"), 84, ".psst")
        >>> store.read(store.image_ids(0)).shape
        (20, 3, 84, 84)
    """

    class_names: list[str]
    splits: dict[str, npt.NDArray[np.int64]]
    groups: dict[str, dict[str, npt.NDArray[np.int64]]]
    labels: npt.NDArray[np.int64]
    images_file, labels_file, meta_file = "images.npy", "labels.npy", "meta.json"
    format_version = 3  # the only one that is read: images [n, C, H, W]; classes and groups of images, [2, n]

    def __init__(self, folder: str | Path) -> None:
        """Open the finished store in ``folder``.

        Raises:
            FileNotFoundError: ``folder`` holds no finished store.
            ValueError: the store is damaged or of another format.
        """
        self.folder = Path(folder)
        self._changes: dict[str, Any] = {}  # attributes that are not as the files say
        path = self.folder / self.meta_file
        if not path.is_file():
            law = f"holds no finished store ({self.meta_file} is missing); make it with `psst data prepare`"
            raise FileNotFoundError(f"`{folder}` {law}.")
        self.meta = read_json(path, self.format_version, f"the store `{self.folder}`", _AGAIN)
        try:
            self._take(self.meta)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError) as error:
            raise ValueError(f"the store `{self.folder}` is damaged ({error}); {_AGAIN}.") from error

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": str(self.folder), **self._changes}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state.pop("folder"))  # type: ignore[misc]  # opens it anew
        vars(self).update(state, _changes=state)
        self._sort()

    def _changed(self, **changes: Any) -> "ImageStore":
        other = ImageStore.__new__(type(self))
        other.__setstate__({**self.__getstate__(), **changes})
        return other

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """``(C, H, W)``, the order that networks use."""
        _, height, width, channels = self.images.shape
        return channels, height, width

    def image_ids(self, class_id: int) -> npt.NDArray[np.int64]:
        """Return the positions of the images of a class, ascending."""
        return self._order[self._starts[class_id] : self._starts[class_id + 1]]

    def split_ids(self, split: str) -> npt.NDArray[np.int64]:
        """Return the positions of the images of a split, class by class."""
        found = [self.image_ids(int(class_id)) for class_id in self.splits[split]]
        return np.concatenate(found) if found else np.empty(0, dtype=np.int64)

    def read(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """Return the images ``ids``, ``[...]``, as ``[..., C, H, W]``, the order that networks use: a copy.

        Raises:
            IndexError: there is no such image.
        """
        return self._planes[ids]  # one gather out of the map

    def divided(self, train: Sequence[int], val: Sequence[int]) -> "ImageStore":
        """Return the same images with other classes to train and to validate on; those to test on stay.

        Groups of classes are cut accordingly; mean and std stay.
        """
        asked = {"train": np.asarray(train, dtype=np.int64), "val": np.asarray(val, dtype=np.int64)}
        known = [*self.groups.get("train", {}).items(), *self.groups.get("val", {}).items()]
        groups = dict(self.groups)
        for split, ids in asked.items():
            cut = {name: classes[np.isin(classes, ids)] for name, classes in known}
            groups[split] = {name: found for name, found in cut.items() if len(found)}
        return self._changed(splits={**self.splits, **asked}, groups=groups)

    def divided_images(self, fold: int, folds: int) -> "ImageStore":
        """Return the store with fold number ``fold`` of the images of each class, not for testing, left out.

        All of these classes are trained on. Their images that are left out stand as classes of the same names
        in the split ``val``. Images of one group are left out together.
        """
        from psst.randomness import stream_key  # imports torch

        pool = np.concatenate([self.splits["train"], self.splits["val"]])
        labels = self.labels.copy()
        names: list[str] = list(self.class_names)
        fold_of: dict[int, int] = {}  # by group, which may lie in several classes
        for class_id in pool.tolist():
            ids = self.image_ids(class_id)
            alike, places = np.unique(
                np.where(self.image_groups[ids] < 0, -1 - ids, self.image_groups[ids]), return_inverse=True
            )
            generator = np.random.Generator(np.random.Philox(key=stream_key("images", class_id, folds)))
            for number, place in enumerate(generator.permutation(len(alike))):
                fold_of.setdefault(int(alike[place]), number % folds)
            out = np.array([fold_of[group] == fold for group in alike.tolist()])
            labels[ids[out[places]]] = len(names)
            names.append(self.class_names[class_id])
        new = np.arange(len(self.class_names), len(names))
        splits = {**self.splits, "train": np.sort(pool), "val": new}
        groups = {split: found for split, found in self.groups.items() if split == "test"}
        return self._changed(splits=splits, groups=groups, labels=labels, class_names=names)

    @classmethod
    def checksums(cls, folder: Path, meta: Mapping[str, Any]) -> dict[str, str]:
        """Return the hexadecimal SHA-256 of each file of a store, of meta.json by what it says."""
        content = {name: value for name, value in meta.items() if name != "sha256"}
        sums = {cls.meta_file: hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()}
        for name in (cls.images_file, cls.labels_file):
            with (folder / name).open("rb") as file:
                sums[name] = hashlib.file_digest(file, "sha256").hexdigest()
        return sums

    def class_groups(self, split: str) -> dict[str, npt.NDArray[np.int64]]:
        """Return the groups of classes that episodes of a split keep to; one called "all" without."""
        return self.groups.get(split) or {"all": self.splits[split]}

    def verify(self) -> None:
        """Compare all files with their checksums.

        Raises:
            ValueError: a file has changed since the store was built.
        """
        for name, found in self.checksums(self.folder, self.meta).items():
            if found != (expected := self.meta["sha256"][name]):
                raise ValueError(
                    f"`{self.folder / name}` has sha256 {found[:12]}..., {self.meta_file} says "
                    f"{expected[:12]}...; the file was damaged after it was built: {_AGAIN}."
                )

    def _take(self, meta: Mapping[str, Any]) -> None:
        """Fill the attributes from ``meta`` and the arrays."""
        self.class_names = list(meta["class_names"])
        self.splits = {name: np.asarray(ids, dtype=np.int64) for name, ids in meta["splits"].items()}
        self.groups = {
            split: {name: np.asarray(ids, dtype=np.int64) for name, ids in groups.items()}
            for split, groups in meta["groups"].items()
        }
        self.mean: tuple[float, ...] = tuple(meta["mean"])
        self.std: tuple[float, ...] = tuple(meta["std"])
        self.duplicates: list[dict[str, Any]] = list(meta["duplicates"])
        self.n_image_groups = int(meta["n_image_groups"])
        self._check()
        stored: npt.NDArray[np.uint8] = np.load(self.folder / self.images_file, mmap_mode="r")
        labels: npt.NDArray[np.int64] = np.load(self.folder / self.labels_file)
        count, size, channels = (int(meta[name]) for name in ("count", "size", "channels"))
        expected = [count, channels, size, size]
        if list(stored.shape) != expected or labels.shape != (2, count):
            raise ValueError(
                f"its images are {list(stored.shape)} and its labels {list(labels.shape)}, {self.meta_file} "
                f"says {expected} and {[2, count]}"
            )
        self.labels, self.image_groups = labels
        self._planes = np.asarray(stored)
        self.images = np.moveaxis(stored, 1, -1)
        self._sort()

    def _check(self) -> None:
        """Raise ValueError where meta.json cannot be meant."""
        ids, names = np.concatenate([*self.splits.values()]), (self.images_file, self.labels_file)
        laws = {
            "an array is missing": all((self.folder / name).is_file() for name in names),  # no pipe either
            "a checksum is missing": {*names, self.meta_file} <= set(self.meta["sha256"]),
            "a class is in two splits": len(np.unique(ids)) == len(ids),
            "a class is not there": np.isin(ids, range(len(self.class_names))).all(),
            f"mean {self.mean} is no number": np.isfinite(self.mean).all(),
            f"std {self.std} is none": all(0 <= one < np.inf for one in self.std),
        }
        if broken := [law for law, kept in laws.items() if not kept]:
            raise ValueError(broken[0])

    def _sort(self) -> None:
        self._order = np.argsort(self.labels, kind="stable").astype(np.int64)
        # class k has the places from start k to start k + 1 of the order; those without a class come first
        self._starts = np.searchsorted(self.labels[self._order], np.arange(len(self.class_names) + 1))
        self.unlabeled: npt.NDArray[np.int64] = self._order[: self._starts[0]]
