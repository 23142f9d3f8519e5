"""Images that are equal pixel for pixel and yet labeled differently."""

import warnings
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from psst.images.classes import side
from psst.images.source import UNLABELED, ImageRecord

_SHOWN = 3  # pairs named in a warning
_LONGEST = 200  # characters of a name, from its end


def find_duplicates(records: Sequence[ImageRecord], digests: Sequence[bytes]) -> list[dict[str, Any]]:
    """Return the groups of equal images whose classes or splits differ, in the order of the images.

    Unlabeled images are material to train on: one that equals a training image is no contradiction, one that
    equals a validation or test image is.

    Args:
        records: what the images were made of.
        digests: of the pixels of each image; empty for one that shows nothing.

    Returns:
        Of each group "images", "classes", "splits" and "names", lists of one entry an image.
    """
    equal: dict[bytes, list[int]] = defaultdict(list)
    for i, digest in enumerate(digests):
        equal[digest].append(i)
    equal.pop(b"", None)
    found = [[(i, records[i]) for i in ids] for ids in equal.values() if len(ids) > 1]
    return [
        {
            "images": [i for i, _ in group],
            "classes": [record.class_name for _, record in group],
            "splits": [record.split for _, record in group],
            "names": [str(record.reference)[-_LONGEST:] for _, record in group],
        }
        for group in found
        if _contradict([record for _, record in group])
    ]


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
    texts = (
        (leaks, f"TEST OR VALIDATION LEAK in {name}: results are not to be trusted, for in two splits lie"),
        (others, f"in two classes of {name} lie"),
    )
    for groups, text in texts:
        if groups:
            shown = "; ".join(map(_pair, groups[:_SHOWN]))
            warnings.warn(
                f"{text} {len(groups)} picture(s), equal in every pixel at {size} x {size}. Take them out of "
                f"one of the two. The first: {shown}; all are listed in `{meta}` under duplicates.",
                stacklevel=3,
            )


def _contradict(records: Sequence[ImageRecord]) -> bool:
    classes = {record.class_name for record in records if record.split != UNLABELED}
    return len(classes) > 1 or len(_roles([record.split for record in records])) > 1


def _roles(splits: Sequence[str]) -> set[str]:
    return {side(split) for split in splits}


def _pair(group: dict[str, Any]) -> str:
    """Name the first image and the first that contradicts it."""
    first, *others = zip(group["classes"], group["splits"], group["names"], strict=True)
    elsewhere = [place for place in others if side(place[1]) != side(first[1])]
    second = (elsewhere or [place for place in others if place[0] != first[0]])[0]
    return " = ".join(f"`{name}` ({f'{split} {label}'.strip()})" for label, split, name in (first, second))
