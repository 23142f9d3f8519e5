"""Which number, split and group the classes and the images of a store get."""

import warnings
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from psst.images.source import SPLITS, UNLABELED, ImageRecord


def class_layout(records: Sequence[ImageRecord], name: str) -> dict[str, Any]:
    """Number the classes in order of appearance and list the ids of each split and group.

    Args:
        records: all images of a data set.
        name: of the data set, for messages.

    Returns:
        "class_names"; "splits": split -> class ids; "groups": split -> group -> class ids.

    Raises:
        ValueError: a class is in two splits or groups, a split has another name, or nothing trains.
    """
    places: dict[str, tuple[str, str | None]] = {}
    for record in records:
        if record.split == UNLABELED:
            continue
        place = places.setdefault(record.class_name, (record.split, record.group))
        if place != (record.split, record.group):
            kind, one, other = "split", place[0], record.split
            if one == other:
                kind, one, other = "group", str(place[1]), str(record.group)
            raise ValueError(
                f"class `{record.class_name}` of {name} is in {kind} '{one}' and in {kind} '{other}'; a "
                f"class belongs to one {kind}: take it out of the other, or give the two different names."
            )
    splits: dict[str, list[int]] = {split: [] for split in SPLITS}
    groups: dict[str, dict[str, list[int]]] = {}
    for class_id, (class_name, (split, group)) in enumerate(places.items()):
        if split not in splits:
            raise ValueError(
                f"class `{class_name}` of {name} is in split '{split}'; a split is one of {list(SPLITS)}, or "
                f"'{UNLABELED}' for images without a class."
            )
        splits[split].append(class_id)
        if group is not None:
            groups.setdefault(split, {}).setdefault(group, []).append(class_id)
    if not splits["train"]:
        raise ValueError(f"{name} has no training images; {len(places)} classes in other splits were found.")
    return {"class_names": list(places), "splits": splits, "groups": groups}


def keep_apart(records: Sequence[ImageRecord], name: str) -> Sequence[ImageRecord]:
    """Leave out images until each group of images stands on one side of the splits, with a warning.

    A group stays where most of its images are; in the first of `SPLITS` among equals. Images without a class
    are material to train on.

    Raises:
        ValueError: nothing is left of a class.
    """
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for record in records:
        if record.image_group is not None:
            counts[record.image_group][side(record.split)] += 1
    home = {group: max(SPLITS, key=found.__getitem__) for group, found in counts.items() if len(found) > 1}
    if not home:
        return records
    kept = [
        record
        for record in records
        if record.image_group is None
        or home.get(record.image_group, side(record.split)) == side(record.split)
    ]
    left = {record.class_name for record in kept} | {""}  # the name of no class
    empty = next((record for record in records if record.class_name not in left), None)
    group = next(iter(home))
    example = f"`{group}` ({', '.join(f'{n} in {split}' for split, n in sorted(counts[group].items()))})"
    if empty is not None:
        raise ValueError(
            f"all images of class `{empty.class_name}` of {name} are of groups that mostly lie in another "
            f"split, such as `{empty.image_group}`; take the class out, or divide the classes so that each "
            "group of images lies in one split."
        )
    warnings.warn(
        f"{len(home)} groups of images of {name} lie in two splits; {len(records) - len(kept)} of "
        f"{len(records)} images were left out, so that each lies in the split with most of its images. The "
        f"first: {example}.",
        stacklevel=4,
    )
    return kept


def side(split: str) -> str:
    """Return the split itself, "train" for images without a class."""
    return "train" if split == UNLABELED else split


def image_labels(
    records: Sequence[ImageRecord], class_names: Sequence[str]
) -> tuple[npt.NDArray[np.int64], int]:
    """Return the class and the group of each image, ``[2, n]``, -1 for none, and the number of groups.

    Groups are numbered in order of appearance.
    """
    ids = {name: class_id for class_id, name in enumerate(class_names)}
    groups: dict[str, int] = {}
    labels = np.full((2, len(records)), -1, dtype=np.int64)
    for i, record in enumerate(records):
        if record.split != UNLABELED:
            labels[0, i] = ids[record.class_name]
        if record.image_group is not None:
            labels[1, i] = groups.setdefault(record.image_group, len(groups))
    return labels, len(groups)
