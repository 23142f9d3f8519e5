"""CUB-200-2011 (Wah et al. 2011): birds of 200 kinds, in three splits that were published."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import numpy.typing as npt

from psst.datamodules.episodic import InLayouts
from psst.images import SPLITS, ImageRecord
from psst.images.decode import decode_image
from psst.images.files.archives import Entry, archive_entries
from psst.images.files.download import RemoteFile
from psst.images.files.paths import require_folder
from psst.images.sources.image_tree import ImageTree
from psst.images.sources.layout import Layout, published_rows

_Split = Literal["closer_look", "feat", "meta_dataset"]
_Box = tuple[float, float, float, float]
_Crop = Literal["none", "box"]

_ARCHIVE = RemoteFile(
    "CUB_200_2011.tgz",
    (
        "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",
        "https://zenodo.org/records/8000562/files/CUB_200_2011.tgz",
    ),
    "md5:97eceeb196236b17998738112f37df78",
    1_150_585_339,
)
_MANUAL = "https://data.caltech.edu/records/65de6-vp158 offers CUB_200_2011.tgz; it is read as it is."
_AGAIN = "extract CUB_200_2011.tgz again, or leave it as it is: archives are read in place."

_EXPECTS = "CUB_200_2011.tgz, or CUB_200_2011/ with images.txt and images/ in it"
_FOLDER = "CUB_200_2011"
_IMAGES, _BOXES = "images.txt", "bounding_boxes.txt"
_PUBLISHED_CROP: Mapping[str, _Crop] = {"closer_look": "none", "feat": "box", "meta_dataset": "none"}
_CLOSER_LOOK = ("train", "val", "train", "test")  # by the place among the sorted classes, from 0, mod 4


@dataclass(frozen=True)
class _Bird(Entry):
    """An image file and the box around its bird; None for the whole image."""

    box: _Box | None


@dataclass
class _CUBSource:
    """The images of 200 kinds of birds; attributes are the arguments of `CUB`."""

    root: str | Path
    split: _Split | None = None
    crop: _Crop | None = None
    name: ClassVar[str] = "cub"
    channels: ClassVar[int] = 3

    def __post_init__(self) -> None:
        if self.split not in get_args(_Split):
            raise ValueError(
                f"`data.init_args.split={self.split}` must be 'closer_look' (100/50/50 classes of Chen et "
                "al. 2019, whole images), 'feat' (100/50/50 others, of Ye et al. 2020, images cropped to the "
                "bird's box) or 'meta_dataset' (140/30/30, of Triantafillou et al. 2020, whole images); "
                "there is no default, because 29 of the 50 test classes of closer_look train in meta_dataset."
            )
        if self.crop not in (None, *get_args(_Crop)):
            raise ValueError(
                f"`data.init_args.crop={self.crop}` must be 'none' (whole images) or 'box' (the bird's box)."
            )
        self.crop = self.crop or _PUBLISHED_CROP[str(self.split)]

    @staticmethod
    def classes(split: str) -> dict[str, str]:
        """Return which split each of the 200 classes, ``NNN.Name``, belongs to; train, val and test."""
        rows = sorted(published_rows("cub.txt"))
        if split == "closer_look":
            return {name: _CLOSER_LOOK[place % 4] for place, (name, _, _) in enumerate(rows)}
        column = ("feat", "meta_dataset").index(split) + 1
        return {row[0]: row[column] for row in rows}

    def key(self, size: int) -> dict[str, Any]:
        """Split and crop, and the names, sizes and dates of the files."""
        tree = ImageTree.grow_whole(self.root)
        files = tree.fingerprint([*tree.archives, *(path for path in tree.others if path.endswith(".txt"))])
        return {**vars(self), "root": files}  # where they lie does not matter

    def scan(self) -> list[ImageRecord]:
        """List the images by split, class and file; see `Source.scan`."""
        entries = _entries(require_folder(self.root))
        split_of = self.classes(str(self.split))
        paths = dict(_table(entries, _IMAGES, 2))
        class_of = {image: path.partition("/")[0] for image, path in paths.items()}
        if odd := sorted(set(class_of.values()) ^ split_of.keys()):
            raise ValueError(
                f"`{entries[_IMAGES]}` has images of {len(set(class_of.values()))} classes, the published "
                f"splits {len(split_of)}: {odd[0]} is {'missing' if odd[0] in split_of else 'unknown'}; for "
                "other birds use `psst.datamodules.ImageFolder`."
            )
        box_of = _boxes(entries) if self.crop == "box" else dict.fromkeys(paths)
        if unboxed := [image for image in paths if image not in box_of]:
            raise ValueError(f"image {unboxed[0]} of `{entries[_IMAGES]}` is not in {_BOXES}; {_AGAIN}")
        if missing := [path for path in paths.values() if f"images/{path}" not in entries]:
            raise FileNotFoundError(
                f"{len(missing)} of {len(paths)} images that `{entries[_IMAGES]}` names are "
                f"missing, first: images/{missing[0]}; {_AGAIN}"
            )
        files = {image: vars(entries[f"images/{path}"]) for image, path in paths.items()}
        found = [
            ImageRecord(name, split_of[name], _Bird(**files[image], box=box_of[image]))
            for image, name in class_of.items()
        ]
        return sorted(found, key=lambda record: (SPLITS.index(record.split), record.reference.name))

    def decode(self, record: ImageRecord, size: int) -> npt.NDArray[np.uint8]:
        """Return one image as ``[size, size, 3]``."""
        bird: _Bird = record.reference
        return decode_image(bird.read(), str(bird), size, self.channels, bird.box)


def _entries(root: Path) -> dict[str, Entry]:
    """Index the files by their paths below the folder CUB_200_2011."""
    place = _place(root)
    if place is None:
        raise FileNotFoundError(
            f"`data.init_args.root={root}` holds neither {_FOLDER} with {_IMAGES} and images/ nor"
            f" {_ARCHIVE.name}. {_MANUAL}"
        )
    found = archive_entries(place) if place.is_file() else ImageTree.grow_whole(place).entries()
    return {entry.name.removeprefix(f"{_FOLDER}/"): entry for entry in found}


def _place(root: Path) -> Path | None:
    """Return the folder CUB_200_2011, which is ``root`` or lies in it, or the archive; None without."""
    names = (_IMAGES, "images")
    folders = [folder for folder in (root, root / _FOLDER) if all((folder / name).exists() for name in names)]
    paths = (root / f"{_FOLDER}{suffix}" for suffix in (".tgz", ".tar.gz", ".tar"))
    return next((path for path in (*folders, *paths) if path.exists()), None)


def _table(entries: Mapping[str, Entry], name: str, columns: int) -> Iterator[list[str]]:
    """Yield the lines of a text file as lists of so many words."""
    if name not in entries:
        raise FileNotFoundError(f"{name} of CUB-200-2011 is missing; {_AGAIN}")
    entry = entries[name]
    try:
        lines = entry.read().decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"`{entry}` is not a text file in UTF-8 ({error}); {_AGAIN}") from error
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if len(words) != columns:
            raise ValueError(f"line {number} of `{entry}` has {len(words)} words, not {columns}; {_AGAIN}")
        yield words


def _boxes(entries: Mapping[str, Entry]) -> dict[str, _Box | None]:
    """Return the box of each image by the image's number; ValueError for one that is no box."""
    found: dict[str, _Box | None] = {}
    for image, *words in _table(entries, _BOXES, 5):
        try:
            x, y, width, height = map(float, words)
        except ValueError:
            x, y, width, height = 0.0, 0.0, 0.0, 0.0
        if not (width >= 1 and height >= 1):
            raise ValueError(f"image {image} of `{entries[_BOXES]}` has the box {' '.join(words)}; {_AGAIN}")
        found[image] = (x, y, width, height)
    return found


class CUB(InLayouts):
    """CUB-200-2011, 11,788 photographs of 200 kinds of birds.

    Accuracies under different splits cannot be compared, and a model trained under one must not be tested
    under another: 29 of the 50 test classes of "closer_look" train in "meta_dataset".

    * "closer_look": 100/50/50 classes of Chen et al., A Closer Look at Few-shot Classification (ICLR 2019),
      by a rule: of every four classes in order the first and third train, the second validates, the fourth
      tests. Whole images.
    * "feat": 100/50/50 classes of Ye et al., Few-Shot Learning via Embedding Adaptation (CVPR 2020), by list.
      Images are cut to the bird's box, without which accuracies are not those of the publications.
    * "meta_dataset": 140/30/30 classes of Triantafillou et al., Meta-Dataset (ICLR 2020), by list. Whole
      images.

    Args:
        root: folder that holds CUB_200_2011.tgz as it is or CUB_200_2011, or is the extracted folder itself.
        split: one of the three; there is no default, because the choice decides what a number means.
        crop: "none" or "box"; None for what the split was published with.
        size: side length in pixels; 84 is usual.
        **shared: see `EpisodicDataModule`.

    Raises:
        ValueError: ``split`` is not set, or an option has no such value.

    Example:
        >>> data = CUB("data/cub", split="feat", episodes=Episodes(way=5, shot=1))
    """

    layouts = (Layout(_EXPECTS, lambda folder: _place(folder) is not None, _CUBSource),)
    remote: tuple[RemoteFile, ...] = (_ARCHIVE,)
    manual = _MANUAL

    def __init__(
        self, root: str, split: _Split | None = None, crop: _Crop | None = None, size: int = 84, **shared: Any
    ) -> None:
        super().__init__(root, size, **shared)
        self._source = _CUBSource(root, split, crop)
