"""Pickled dicts of images and numbers as labels, one file a split, as several benchmarks are passed round."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from psst.images.files.unpickle import load
from psst.images.sources.array_images import ArraySource, Part, Pixels, label_array, require_keys
from psst.images.sources.split_files import SplitFiles, begins_with_key, find_split_files


class CategoryPickles(ArraySource):
    """A dict with ``data``, ``[n, H, W, 3]``, and ``labels``, one file a split.

    mini-ImageNet of Gidaris and Komodakis (2018), MetaOptNet's CIFAR-FS and FC100. Labels may go on from one
    split to the next or start again: a class is named by ``catname2label`` of the file, by ``names``, or
    ``train/12``.

    Args:
        root: the folder, or one above.
        name: of the data set.
        found: its files.
        expects: the names of the files, for messages.
        names: split -> label -> class; used for a split whose labels are exactly those.
    """

    def __init__(
        self,
        root: str | Path,
        name: str,
        found: SplitFiles,
        expects: str,
        names: Mapping[str, Mapping[int, str]] | None = None,
    ) -> None:
        super().__init__(root, name)
        self.found = found
        self.expects = expects
        self.names = names or {}

    def files(self) -> Sequence[Path]:
        """Return the three files."""
        return list(self.found.require(self.root, self.expects).values())

    def parts(self) -> Iterator[Part]:
        """Open the files of each split."""
        if self.found.held_out:
            warnings.warn(
                f"`data.init_args.root={self.root}`: {', '.join(path.name for path in self.found.held_out)} "
                "hold further images of the training classes and were left out.",
                stacklevel=2,
            )
        for split, path in self.found.require(self.root, self.expects).items():
            file = str(path)
            content = load(path)
            images, labels = require_keys(content, ("data", "labels"), file)
            numbers = label_array(labels, file).tolist()
            name_of = self._names(set(numbers), split, content)
            classes = [name_of[number] for number in numbers]
            yield Part(Pixels(file, images), classes, dict.fromkeys(classes, split))

    def _names(self, labels: set[int], split: str, content: dict[str, Any]) -> Mapping[int, str]:
        named = content.get("catname2label")
        if isinstance(named, dict):
            name_of = {int(label): name for name, label in named.items() if _is_pair(name, label)}
            if labels <= name_of.keys():
                return name_of
        published = self.names.get(split, {})
        return published if labels == set(published) else {label: f"{split}/{label}" for label in labels}


def category_files(folder: Path, word: str) -> SplitFiles:
    """Find the files of `CategoryPickles` with ``word`` in their names."""
    return find_split_files(
        folder,
        lambda path: (
            word in path.name.lower().replace("-", "_") and not begins_with_key(path, ("image_data",))
        ),
    )


def _is_pair(name: object, label: object) -> bool:
    return isinstance(name, str) and bool(name) and isinstance(label, int | np.integer)
