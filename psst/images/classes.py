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


def arrange(
    records: Sequence[ImageRecord], name: str
) -> tuple[Sequence[ImageRecord], dict[str, Any], npt.NDArray[np.int64]]:
    """Leave each group of images in one split, and number the classes and the groups by their appearance.

    Returns the images that are kept; of meta.json "class_names", "n_image_groups", "splits": split -> class
    ids, and "groups": split -> group of classes -> class ids; and class and group of each image, ``[2, n]``.
    """
    records = _keep_apart(records, name)
    places: dict[str, tuple[str, str | None]] = {}
    class_ids: dict[str, int] = {}
    group_ids: dict[str, int] = {}
    labels = np.full((2, len(records)), -1, dtype=np.int64)
    for i, record in enumerate(records):
        if record.image_group is not None:
            labels[1, i] = group_ids.setdefault(record.image_group, len(group_ids))
        if record.split == UNLABELED:
            continue
        labels[0, i] = class_ids.setdefault(record.class_name, len(class_ids))
        place = places.setdefault(record.class_name, (record.split, record.group))
        if place != (record.split, record.group):
            pairs = zip(("split", "group"), place, (record.split, record.group), strict=True)
            kind, one, other = next(pair for pair in pairs if pair[1] != pair[2])
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
    layout = {"class_names": list(places), "splits": splits, "groups": groups}
    return records, layout | {"n_image_groups": len(group_ids)}, labels


def _keep_apart(records: Sequence[ImageRecord], name: str) -> Sequence[ImageRecord]:
    """Leave each group of images where most of its images are, the first of `SPLITS` among equals."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for record in records:
        if record.image_group is not None:
            counts[record.image_group][_side(record.split)] += 1
    home: dict[str | None, str] = {
        group: max(SPLITS, key=found.__getitem__) for group, found in counts.items() if len(found) > 1
    }
    if not home:
        return records
    kept = [each for each in records if home.get(each.image_group, _side(each.split)) == _side(each.split)]
    left = {record.class_name for record in kept} | {""}  # the name of no class
    group, found = next((group, found) for group, found in counts.items() if group in home)
    example = f"`{group}` ({', '.join(f'{n} in {split}' for split, n in sorted(found.items()))})"
    if empty := next((record for record in records if record.class_name not in left), None):
        raise ValueError(
            f"all images of class `{empty.class_name}` of {name} are of groups that mostly lie in another "
            f"split, such as `{empty.image_group}`; take the class out, or divide the classes so that each "
            "group of images lies in one split."
        )
    warnings.warn(
        f"{len(home)} groups of images of {name} lie in two splits; {len(records) - len(kept)} of "
        f"{len(records)} images were left out, so that each lies in the split with most of its images. The "
        f"first: {example}.",
        stacklevel=5,
    )
    return kept


def find_duplicates(
    records: Sequence[ImageRecord], digests: Sequence[bytes], name: str, size: int, meta: Path
) -> list[dict[str, Any]]:
    """Return, and warn of, equal images whose classes or splits differ.

    Unlabeled images are material to train on: one that equals a training image is no contradiction, one that
    equals a validation or test image is. The digest of an image that shows nothing is empty.
    """
    equal: dict[bytes, list[int]] = defaultdict(list)
    for i, digest in enumerate(digests):
        equal[digest].append(i)
    equal.pop(b"", None)
    duplicates: list[dict[str, Any]] = []
    leaks, others = list[str](), list[str]()
    for ids in equal.values():
        classes, splits = [records[i].class_name for i in ids], [records[i].split for i in ids]
        sides = [_side(split) for split in splits]
        leak = len({*sides}) > 1
        if not leak and len({*classes} - {""}) < 2:
            continue
        names = [str(records[i].reference)[-_LONGEST:] for i in ids]
        duplicates.append({"images": ids, "classes": classes, "splits": splits, "names": names})
        contradicting = sides if leak else classes
        second = next(at for at, found in enumerate(contradicting) if found != contradicting[0])
        named = (f"`{names[at]}` ({f'{splits[at]} {classes[at]}'.strip()})" for at in (0, second))
        (leaks if leak else others).append(" = ".join(named))
    law = f"TEST OR VALIDATION LEAK in {name}: results are not to be trusted, for in two splits lie"
    for pairs, text in ((leaks, law), (others, f"in two classes of {name} lie")):
        if pairs:
            warnings.warn(
                f"{text} {len(pairs)} picture(s), equal in every pixel at {size} x {size}. Take them out of "
                f"one of the two. The first: {'; '.join(pairs[:_SHOWN])}; all are listed in `{meta}` under "
                "duplicates.",
                stacklevel=4,
            )
    return duplicates


def _side(split: str) -> str:
    """Return the split itself, "train" for images without a class, which are material to train on."""
    return "train" if split == UNLABELED else split
