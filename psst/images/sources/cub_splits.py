"""The three published class splits of CUB-200-2011, which do not agree with one another."""

from collections.abc import Mapping
from typing import Literal, get_args

from psst.images.sources.published import published_rows

Split = Literal["closer_look", "feat", "meta_dataset"]
Crop = Literal["none", "box"]

PUBLISHED_CROP: Mapping[str, Crop] = {"closer_look": "none", "feat": "box", "meta_dataset": "none"}

_CHOICES = (
    "'closer_look' (100/50/50 classes of Chen et al. 2019, whole images), 'feat' (100/50/50 others, of Ye et "
    "al. 2020, images cropped to the bird's box) or 'meta_dataset' (140/30/30, of Triantafillou et al. 2020, "
    "whole images)"
)
_CLOSER_LOOK = (
    "train",
    "val",
    "train",
    "test",
)  # by the place among the sorted classes, counted from 0, mod 4


def class_splits(split: Split) -> dict[str, str]:
    """Return which split each of the 200 classes, ``NNN.Name``, belongs to; train, val and test."""
    rows = sorted(published_rows("cub.txt"))
    if split == "closer_look":
        return {name: _CLOSER_LOOK[place % 4] for place, (name, _, _) in enumerate(rows)}
    column = ("feat", "meta_dataset").index(split) + 1
    return {row[0]: row[column] for row in rows}


def check_split(split: str | None) -> Split:
    """Return ``split``.

    Raises:
        ValueError: it is None or has another name; the message explains the three.
    """
    if split is None:
        raise ValueError(
            "`data.init_args.split` is not set and has no default, because the published splits of CUB do "
            "not agree (29 of the 50 test classes of closer_look train in meta_dataset): set it to "
            f"{_CHOICES}."
        )
    if split not in get_args(Split):
        raise ValueError(f"`data.init_args.split={split}` must be {_CHOICES}.")
    return split  # type: ignore[return-value]  # checked above


def check_crop(crop: str | None, split: Split) -> Crop:
    """Return ``crop``, or if it is None what ``split`` was published with; raises ValueError for others."""
    if crop is None:
        return PUBLISHED_CROP[split]
    if crop not in get_args(Crop):
        raise ValueError(
            f"`data.init_args.crop={crop}` must be 'none' (whole images) or 'box' (cut to the bird's box)."
        )
    return crop  # type: ignore[return-value]  # checked above
