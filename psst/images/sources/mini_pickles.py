"""mini-ImageNet as pickled arrays, as Ren et al. and learn2learn distribute it."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from psst.images.files.archives import require_folder
from psst.images.files.unpickle import load
from psst.images.sources.array_images import ArraySource, Part, Pixels, label_array, require_keys
from psst.images.sources.split_files import SplitFiles, begins_with_key, find_split_files

CACHE_FILES = "mini-imagenet-cache-train.pkl, -val.pkl (or -validation.pkl) and -test.pkl, unpacked"


class CachePickles(ArraySource):
    """Files of Ren et al. (2018), ``mini-imagenet-cache-<split>.pkl``; learn2learn distributes them, too.

    Each holds a dict: ``image_data`` is ``[n, 84, 84, 3]`` and ``class_dict`` names the images of each class
    by their places. Classes are named by their WordNet ids. The arrays stay in the files, see `load`; those
    of learn2learn are stored as text and take 1.3 GB in the folder of temporary files during the build.

    Args:
        root: the folder, or one above.
        name: of the data set.
        split_of: the published splits; a class that is in another split is warned of.
    """

    def __init__(self, root: str | Path, name: str, split_of: Mapping[str, str]) -> None:
        super().__init__(root, name)
        self.split_of = split_of

    def files(self) -> Sequence[Path]:
        """Return the three files."""
        return list(self._files().values())

    def parts(self) -> Iterator[Part]:
        """Open the files of each split."""
        for split, path in self._files().items():
            file = str(path)
            images, members = require_keys(load(path), ("image_data", "class_dict"), file)
            pixels = Pixels(file, images)
            classes = _classes(members, len(pixels), file)
            self._check_splits(set(classes), split, file)
            yield Part(pixels, classes, dict.fromkeys(classes, split))

    def _files(self) -> dict[str, Path]:
        return cache_files(require_folder(self.root)).require(self.root, CACHE_FILES)

    def _check_splits(self, classes: set[str], split: str, file: str) -> None:
        others = sorted(name for name in classes if self.split_of.get(name, split) != split)
        if others:
            warnings.warn(
                f"{len(others)} of {len(classes)} classes of `{file}` are not {split} classes in the "
                f"published split, first: {others[0]}, a {self.split_of[others[0]]} class; accuracies on "
                "it are not those of mini-ImageNet. Were the files renamed?",
                stacklevel=2,
            )


def cache_files(folder: Path) -> SplitFiles:
    """Find the files of `CachePickles`, by name or by the keys that they begin with."""
    return find_split_files(
        folder,
        lambda path: (
            "imagenet-cache" in path.name.lower() or begins_with_key(path, ("image_data", "class_dict"))
        ),
    )


def _classes(members: Any, count: int, file: str) -> list[str]:
    """Turn class -> places into the class of each place."""
    classes = [""] * count
    if not isinstance(members, dict):
        raise ValueError(f"`class_dict` of `{file}` is a {type(members).__name__}; expected a dict.")
    total = 0
    for name, places in members.items():
        for place in label_array(places, file).tolist():
            if not 0 <= place < count:
                raise ValueError(
                    f"`class_dict` of `{file}` names image {place:,} of {count:,}; the file was cut or put "
                    "together from two: download it again."
                )
            classes[place] = str(name)
            total += 1
    if total != count or not all(classes):
        raise ValueError(
            f"`class_dict` of `{file}` names {total:,} places, {sum(map(bool, classes)):,} of them "
            f"different, for {count:,} images; each belongs to one class: download it again."
        )
    return classes
