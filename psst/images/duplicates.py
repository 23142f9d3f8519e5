"""Images that are equal pixel for pixel and yet labeled differently."""

import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from psst.images.classes import side
from psst.images.source import UNLABELED, ImageRecord

_SHOWN = 3  # pairs named in a warning
_LONGEST = 200  # characters of a name, from its end


def find_duplicates(
    records: Sequence[ImageRecord], images: npt.NDArray[np.uint8], hashes: npt.NDArray[np.int64]
) -> list[dict[str, Any]]:
    """Return the groups of equal images whose classes or splits differ, in the order of the images.

    Unlabeled images are material to train on: one that equals a training image is no contradiction, one that
    equals a validation or test image is. Images of one color throughout show nothing and are left out.

    Args:
        records: what the images were made of.
        images: ``[n, C, H, W]``, as stored.
        hashes: ``[n]``; images with different hashes differ.

    Returns:
        Of each group "images", "classes", "splits" and "names", lists of one entry an image.
    """
    found = []
    for candidates in _repeated(hashes):
        if not _contradict([records[i] for i in candidates]):
            continue
        equal: dict[bytes, list[int]] = defaultdict(list)
        for i in candidates:
            equal[images[i].tobytes()].append(i)
        for ids in equal.values():
            image = images[ids[0]]
            if _contradict([records[i] for i in ids]) and (image != image[:, :1, :1]).any():
                found.append(_described(ids, records))
    return sorted(found, key=lambda group: group["images"][0])


def warn_of_duplicates(duplicates: Sequence[dict[str, Any]], name: str, size: int, meta: Path) -> None:
    """Warn of images that lie in two splits, then of images in two classes of one split.

    Args:
        duplicates: as `find_duplicates` returns them.
        name: of the data set.
        size: at which the images are equal, in pixels.
        meta: the file that lists them.
    """
    leaks = [group for group in duplicates if len(_roles(group["splits"])) > 1]
    others = [group for group in duplicates if len(_roles(group["splits"])) == 1]
    listed = f"all are listed in `{meta}` under duplicates"
    if leaks:
        count = "1 picture lies" if len(leaks) == 1 else f"{len(leaks)} pictures lie"
        warnings.warn(
            f"TEST OR VALIDATION LEAK in {name}: {count} in two splits, equal in every pixel at "
            f"{size} x {size}; results on these splits are not to be trusted. Take them out of one split. "
            f"{_examples(leaks)}; {listed}.",
            stacklevel=3,
        )
    if others:
        count = "1 picture" if len(others) == 1 else f"{len(others)} pictures"
        have = "has" if len(others) == 1 else "have"
        warnings.warn(
            f"{count} of {name} {have} two classes, equal in every pixel at {size} x {size}. "
            f"Take them out of one class. {_examples(others)}; {listed}.",
            stacklevel=3,
        )


def _repeated(hashes: npt.NDArray[np.int64]) -> Iterator[list[int]]:
    """Yield the ascending positions of each value that occurs more than once."""
    order = np.argsort(hashes, kind="stable")
    same = hashes[order[1:]] == hashes[order[:-1]]
    order = order[np.append(same, False) | np.append(False, same)]
    for ids in np.split(order, np.flatnonzero(np.diff(hashes[order])) + 1):
        if len(ids):
            yield ids.tolist()


def _contradict(records: Sequence[ImageRecord]) -> bool:
    classes = {record.class_name for record in records if record.split != UNLABELED}
    return len(classes) > 1 or len(_roles([record.split for record in records])) > 1


def _roles(splits: Sequence[str]) -> set[str]:
    return {side(split) for split in splits}


def _described(ids: Sequence[int], records: Sequence[ImageRecord]) -> dict[str, Any]:
    return {
        "images": list(ids),
        "classes": [records[i].class_name for i in ids],
        "splits": [records[i].split for i in ids],
        "names": [str(records[i].reference)[-_LONGEST:] for i in ids],
    }


def _examples(groups: Sequence[dict[str, Any]]) -> str:
    shown = [_pair(group) for group in groups[:_SHOWN]]
    return "The first: " + "; ".join(shown)


def _pair(group: dict[str, Any]) -> str:
    """Name the first image and the first that contradicts it."""
    places = list(zip(group["classes"], group["splits"], group["names"], strict=True))
    first, others = places[0], places[1:]
    elsewhere = [place for place in others if _roles([place[1]]) != _roles([first[1]])]
    second = (elsewhere or [place for place in others if place[0] != first[0]])[0]
    return " = ".join(f"`{name}` ({f'{split} {label}'.strip()})" for label, split, name in (first, second))
