"""Which number, split and group the classes of a store get."""

from collections.abc import Sequence
from typing import Any

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
            raise ValueError(_clash(record, place, name))
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


def _clash(record: ImageRecord, place: tuple[str, str | None], name: str) -> str:
    split, group = place
    if record.split == split:
        return (
            f"class `{record.class_name}` of {name} is in group '{group}' and in group '{record.group}'; a "
            "class belongs to one group: give the two classes different names."
        )
    return (
        f"class `{record.class_name}` of {name} is in split '{split}' and in split "
        f"'{record.split}'; a class belongs to one split: take it out of the other."
    )


def class_labels(records: Sequence[ImageRecord], class_names: Sequence[str]) -> list[int]:
    """Return the class id of each image, -1 for the unlabeled ones."""
    ids = {name: class_id for class_id, name in enumerate(class_names)}
    return [-1 if record.split == UNLABELED else ids[record.class_name] for record in records]
