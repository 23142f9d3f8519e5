"""Which number, split and group the classes and images of a store get, and which images contradict it."""

import warnings
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from psst.images.source import SPLITS, UNLABELED, ImageRecord

_SHOWN = 3  # pairs named in a warning
_LONGEST = 200  # characters of a name, from its end


def number_classes(records: Sequence[ImageRecord], name: str) -> tuple[dict[str, Any], npt.NDArray[np.int64]]:
    """Number the classes and the groups of images in order of appearance.

    Returns:
        Of meta.json "class_names", "n_image_groups", "splits": split -> class ids, and "groups": split ->
        group of classes -> class ids; and the class and the group of each image, ``[2, n]``, -1 for none.

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
    ids = {class_name: class_id for class_id, class_name in enumerate(places)}
    image_groups: dict[str, int] = {}
    labels = np.full((2, len(records)), -1, dtype=np.int64)
    for i, record in enumerate(records):
        if record.split != UNLABELED:
            labels[0, i] = ids[record.class_name]
        if record.image_group is not None:
            labels[1, i] = image_groups.setdefault(record.image_group, len(image_groups))
    layout = {"class_names": list(places), "splits": splits, "groups": groups}
    return layout | {"n_image_groups": len(image_groups)}, labels


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
            counts[record.image_group][_side(record.split)] += 1
    home = {group: max(SPLITS, key=found.__getitem__) for group, found in counts.items() if len(found) > 1}
    if not home:
        return records
    kept = [
        record
        for record in records
        if record.image_group is None
        or home.get(record.image_group, _side(record.split)) == _side(record.split)
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
    """Warn of images that lie in two splits, then of images in two classes of one split; meta lists them."""
    leaks = [group for group in duplicates if len(_sides(group["splits"])) > 1]
    others = [group for group in duplicates if len(_sides(group["splits"])) == 1]
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


def _sides(splits: Sequence[str]) -> set[str]:
    return {_side(split) for split in splits}


def _contradict(records: Sequence[ImageRecord]) -> bool:
    classes = {record.class_name for record in records if record.split != UNLABELED}
    return len(classes) > 1 or len(_sides([record.split for record in records])) > 1


def _pair(group: dict[str, Any]) -> str:
    """Name the first image and the first that contradicts it."""
    first, *others = zip(group["classes"], group["splits"], group["names"], strict=True)
    elsewhere = [place for place in others if _side(place[1]) != _side(first[1])]
    second = (elsewhere or [place for place in others if place[0] != first[0]])[0]
    return " = ".join(f"`{name}` ({f'{split} {label}'.strip()})" for label, split, name in (first, second))


def _side(split: str) -> str:
    """Return the split itself, "train" for images without a class."""
    return "train" if split == UNLABELED else split
