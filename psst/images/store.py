"""Decoded images on disk, read by memory map."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

FORMAT_VERSION = 2
"""The newest format. 1: images are ``[n, H, W, C]``. 2: ``[n, C, H, W]``, read faster; labels may be -1."""
IMAGES, LABELS, META = "images.npy", "labels.npy", "meta.json"
_KEYS = {"class_names", "splits", "groups", "mean", "std", "count", "size", "channels", "sha256"}


class ImageStore:
    """Every image of a data set at one size, with class names, splits and groups.

    Workers and ranks that open the same folder share one copy in memory; pickling stores the folder only.

    Attributes:
        folder: where the store lies.
        images: ``[n, H, W, C]`` uint8, memory-mapped, read only; `read` is the fast way to many of them.
        labels: ``[n]`` int64, the class id of each image, -1 without a class.
        unlabeled: ids of the images without a class, ascending; extra material for self-supervised tasks.
        class_names: name of each class id.
        splits: class ids of "train", "val" and "test".
        groups: split -> group name -> class ids; a split without groups has no entry.
        mean: per channel, of the train split, images scaled to [0, 1].
        std: as ``mean``.
        duplicates: groups of equal images in two splits or classes, see `find_duplicates`; empty too where
            the store is older than the search for them.
        meta: all of meta.json.
    """

    def __init__(self, folder: str | Path) -> None:
        """Open the finished store in ``folder``.

        Raises:
            FileNotFoundError: ``folder`` holds no finished store.
            ValueError: the store is damaged or of a newer format.
        """
        self.folder = Path(folder)
        self.meta: dict[str, Any] = _read_meta(self.folder)
        self.class_names: list[str] = list(self.meta["class_names"])
        self.splits = {name: np.asarray(ids, dtype=np.int64) for name, ids in self.meta["splits"].items()}
        self.groups = {
            split: {name: np.asarray(ids, dtype=np.int64) for name, ids in groups.items()}
            for split, groups in self.meta["groups"].items()
        }
        self.mean: tuple[float, ...] = tuple(self.meta["mean"])
        self.std: tuple[float, ...] = tuple(self.meta["std"])
        self.duplicates: list[dict[str, Any]] = list(self.meta.get("duplicates", []))
        self._map_arrays()

    @classmethod
    def open(cls, folder: str | Path) -> "ImageStore":
        """Open the finished store in ``folder``; raises as the constructor does."""
        return cls(folder)

    def __getstate__(self) -> dict[str, str]:
        return {"folder": str(self.folder)}

    def __setstate__(self, state: dict[str, str]) -> None:
        self.__init__(state["folder"])  # type: ignore[misc]  # opens it anew

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return f"ImageStore({str(self.folder)!r})"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """``(C, H, W)``, the order that networks use."""
        _, height, width, channels = self.images.shape
        return channels, height, width

    def image_ids(self, class_id: int) -> npt.NDArray[np.int64]:
        """Return the positions of the images of a class, ascending.

        Raises:
            ValueError: there is no such class.
        """
        if not 0 <= class_id < len(self.class_names):
            raise ValueError(
                f"`class_id={class_id}` is not in [0, {len(self.class_names) - 1}] of {self.folder}."
            )
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
        ids = np.asarray(ids)
        planes = np.ascontiguousarray(self._planes[ids.reshape(-1)])  # one gather out of the map
        return planes.reshape(*ids.shape, *self.image_shape)

    def verify(self) -> None:
        """Compare the arrays with their checksums.

        Raises:
            ValueError: an array has changed since the store was built.
        """
        for name, expected in self.meta["sha256"].items():
            found = file_sha256(self.folder / name)
            if found != expected:
                raise ValueError(
                    f"`{self.folder / name}` has sha256 {found[:12]}..., meta.json says {expected[:12]}...; "
                    "the file was damaged after it was built: delete the folder and prepare the data again."
                )

    def _map_arrays(self) -> None:
        try:
            stored: npt.NDArray[np.uint8] = np.load(self.folder / IMAGES, mmap_mode="r")
            self.labels: npt.NDArray[np.int64] = np.load(self.folder / LABELS)
        except (OSError, ValueError) as error:
            raise ValueError(
                f"the store `{self.folder}` is damaged ({error}); delete the folder and prepare again."
            ) from error
        count, size, channels = (int(self.meta[name]) for name in ("count", "size", "channels"))
        by_plane = self.meta["format"] > 1
        expected = (count, channels, size, size) if by_plane else (count, size, size, channels)
        if stored.shape != expected or self.labels.shape != expected[:1]:
            raise ValueError(
                f"the store `{self.folder}` holds images {list(stored.shape)} and labels "
                f"{list(self.labels.shape)}, meta.json says {list(expected)}; delete the folder "
                "and prepare the data again."
            )
        self.images = np.moveaxis(stored, 1, -1) if by_plane else stored
        self._planes = np.asarray(stored if by_plane else np.moveaxis(stored, -1, 1))
        self._order = np.argsort(self.labels, kind="stable").astype(np.int64)
        self._starts = np.searchsorted(self.labels[self._order], np.arange(len(self.class_names) + 1))
        self.unlabeled: npt.NDArray[np.int64] = self._order[: self._starts[0]]


def file_sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_meta(folder: Path) -> dict[str, Any]:
    if not (folder / META).is_file():
        raise FileNotFoundError(
            f"`{folder}` holds no finished store ({META} is missing); make it with `psst data prepare`."
        )
    try:
        meta: dict[str, Any] = json.loads((folder / META).read_text(encoding="utf-8"))
        version = int(meta["format"])
        missing = sorted(_KEYS - meta.keys()) if version <= FORMAT_VERSION else []
        if missing:
            raise ValueError(f"{missing[0]} is missing")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"`{folder / META}` is damaged ({error}); delete the folder and prepare again."
        ) from error
    if version > FORMAT_VERSION:
        raise ValueError(
            f"`{folder}` is a store of format {version}, this psst reads up to format {FORMAT_VERSION}; "
            "upgrade psst-fewshot, or use another `data.init_args.cache_dir`."
        )
    return meta
