"""Which split each class belongs to: drawn with a seed, or as the user's lists say."""

import difflib
import hashlib
import unicodedata
from collections.abc import Collection, Iterable
from pathlib import Path

from psst.images.source import SPLITS
from psst.images.sources.lists import read_rows

SEEDED, UNDIVIDED = "seeded", "undivided"  # of the latter all classes are to train on
_SHARES = {"train": 16, "val": 4, "test": 5}  # of 25 classes
_LEAST = 2  # an episode tells two classes apart


def read_lists(path: str | Path) -> dict[str, str]:
    """Return the split of each class that the lists of `read_rows` name.

    Raises:
        FileNotFoundError: ``path`` does not exist, or a split has no file.
        ValueError: a file cannot be read, names no classes, or a class is in two splits.
    """
    return _join(((row.class_name, row.split) for row in read_rows(path)), path)


def assign_splits(names: Collection[str], splits: str, seed: int, data_set: str) -> dict[str, str]:
    """Return the split of each class of a data set that brings none of its own.

    ``splits`` is ``"seeded"``, or the path of the user's lists; classes that these leave out have no split.

    Raises:
        FileNotFoundError: the lists are not there.
        ValueError: too few classes, lists that cannot be read, or a listed class that the data set lacks.
    """
    if splits == SEEDED:
        return split_classes(names, seed)
    listed = read_lists(splits)
    spelled = {unicodedata.normalize("NFC", name): name for name in names}
    spelled |= {name: name for name in names}  # as written goes before otherwise spelled
    found = {name: spelled.get(name, spelled.get(unicodedata.normalize("NFC", name))) for name in listed}
    missing = [name for name, match in found.items() if match is None]
    if missing:
        close = difflib.get_close_matches(missing[0], list(names), 1)
        raise ValueError(
            f"{len(missing)} of {len(listed)} classes that `data.init_args.splits={splits}` lists are not in "
            f"{data_set}, first: `{missing[0]}`"
            + (f", similar: `{close[0]}`" if close else "")
            + "; write the names as the data set has them, or take them out of the lists."
        )
    return _join(((found[name] or name, split) for name, split in listed.items()), splits)


def split_classes(names: Iterable[str], seed: int, root: str | Path = "FOLDER") -> dict[str, str]:
    """Divide classes 64:16:20 among train, val and test; the order of ``names`` and repeats do not matter.

    Classes are ranked by a hash of seed and name, so another class moves few others. Sizes are the shares by
    largest remainder; a split gets at least two classes. ValueError for too few of the folder `root`.
    """
    ranked = sorted(set(names), key=lambda name: (_rank(name, seed), name))
    splits = [split for split, size in _sizes(len(ranked), root).items() for _ in range(size)]
    return dict(sorted(zip(ranked, splits, strict=True)))


def _rank(name: str, seed: int) -> bytes:
    text = f"{seed}/{unicodedata.normalize('NFC', name)}"
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).digest()


def _sizes(count: int, root: str | Path) -> dict[str, int]:
    """Return how many of ``count`` classes each split gets."""
    if count < _LEAST * len(SPLITS):
        raise ValueError(
            f"{count} classes cannot be divided into {', '.join(SPLITS)}: each needs {_LEAST}, "
            f"{_LEAST * len(SPLITS)} in all. Add classes, or tell those that you have apart on a frozen "
            f"encoder: `psst adapt {root} --encoder efficientnet-lite0`."
        )
    whole = sum(_SHARES.values())
    sizes = {split: count * _SHARES[split] // whole for split in SPLITS}
    # Largest remainder: what rounding down left over goes to the splits that lost most by it.
    by_remainder = sorted(SPLITS, key=lambda split: -(count * _SHARES[split] % whole))
    for split in by_remainder[: count - sum(sizes.values())]:
        sizes[split] += 1
    while min(sizes.values()) < _LEAST:  # of few classes: the largest split gives to the smallest
        sizes[max(SPLITS, key=lambda split: sizes[split])] -= 1
        sizes[min(SPLITS, key=lambda split: sizes[split])] += 1
    return sizes


def _join(pairs: Iterable[tuple[str, str]], path: str | Path) -> dict[str, str]:
    """Return the split of each class; ValueError for one in two splits, or a split without any."""
    split_of: dict[str, str] = {}
    for name, split in pairs:
        if split_of.setdefault(name, split) != split:
            raise ValueError(
                f"class `{name}` is in split '{split_of[name]}' and in split '{split}' of "
                f"`data.init_args.splits={path}`; a class belongs to one split: take it out of the other."
            )
    missing = [split for split in SPLITS if split not in split_of.values()]
    if missing:
        raise ValueError(
            f"`data.init_args.splits={path}` has no classes for {' and '.join(missing)}; every split needs "
            f"at least {_LEAST}."
        )
    return split_of
