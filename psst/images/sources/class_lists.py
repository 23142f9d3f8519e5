"""Which split each class belongs to: drawn with a seed, or read from the user's lists."""

import difflib
import hashlib
import math
import unicodedata
from collections.abc import Collection, Iterable, Sequence

from psst.images.source import SPLITS
from psst.images.sources.list_files import SPLIT_NAMES, join_lists, read_lists

__all__ = [
    "FRACTIONS",
    "SEEDED",
    "SPLIT_NAMES",
    "assign_splits",
    "match_class",
    "read_lists",
    "split_classes",
]

FRACTIONS = (0.64, 0.16, 0.20)
SEEDED = "seeded"
_LEAST = 2  # an episode tells two classes apart


def split_classes(names: Iterable[str], seed: int, fractions: Sequence[float] = FRACTIONS) -> dict[str, str]:
    """Divide classes among train, val and test; the order of ``names`` and repeats do not matter.

    Classes are ranked by a hash of seed and name, so another class moves few others. Sizes are the fractions
    by largest remainder; a split whose fraction is above 0 gets at least two classes.

    Args:
        names: of all classes.
        seed: another seed, another division.
        fractions: of train, val and test; at least 0, with a sum of 1.

    Returns:
        The split of each class, by name.

    Raises:
        ValueError: too few classes, or fractions that do not add up.
    """
    unique = sorted(set(names))
    sizes = _sizes(len(unique), fractions)
    ranked = sorted(unique, key=lambda name: (_rank(name, seed), name))
    splits = [split for split, size in zip(SPLITS, sizes, strict=True) for _ in range(size)]
    return dict(sorted(zip(ranked, splits, strict=True)))


def assign_splits(names: Collection[str], splits: str, seed: int, data_set: str) -> dict[str, str]:
    """Return the split of each class of a data set that brings none of its own.

    Args:
        names: its classes.
        splits: ``"seeded"``, or the path of the user's lists.
        seed: of the division, for ``"seeded"``.
        data_set: its name, for messages.

    Returns:
        The split of each class; classes that the user's lists leave out are not in it.

    Raises:
        FileNotFoundError: the lists are not there.
        ValueError: too few classes, lists that cannot be read, or a listed class that the data set lacks.
    """
    if splits == SEEDED:
        return split_classes(names, seed)
    listed = read_lists(splits)
    found = {name: match_class(name, names) for name in listed}
    missing = [name for name, match in found.items() if match is None]
    if missing:
        close = difflib.get_close_matches(missing[0], list(names), 1)
        raise ValueError(
            f"{len(missing)} of {len(listed)} classes that `data.init_args.splits={splits}` lists are not in "
            f"{data_set}, first: `{missing[0]}`"
            + (f", similar: `{close[0]}`" if close else "")
            + "; write the names as the data set has them, or take them out of the lists."
        )
    return join_lists(((found[name] or name, split) for name, split in listed.items()), splits)


def match_class(name: str, names: Collection[str]) -> str | None:
    """Return which of ``names`` ``name`` means: itself, spelled alike in Unicode, or the end of a path."""
    if name in names:
        return name
    spelled = {unicodedata.normalize("NFC", other): other for other in names}
    parts = unicodedata.normalize("NFC", name).replace("\\", "/").strip("/").split("/")
    tails = ("/".join(parts[start:]) for start in range(len(parts)))
    return next((spelled[tail] for tail in tails if tail in spelled), None)


def _rank(name: str, seed: int) -> bytes:
    text = f"{seed}/{unicodedata.normalize('NFC', name)}"
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).digest()


def _sizes(count: int, fractions: Sequence[float]) -> list[int]:
    """Return whole numbers in the ratio of ``fractions`` with the sum ``count``."""
    if (
        len(fractions) != len(SPLITS)
        or min(fractions) < 0
        or not math.isclose(sum(fractions), 1, rel_tol=1e-6)
    ):
        raise ValueError(
            f"`fractions={tuple(fractions)}` must be three numbers for {', '.join(SPLITS)}, at least 0, "
            "whose sum is 1."
        )
    least = [_LEAST if fraction > 0 else 0 for fraction in fractions]
    if count < sum(least):
        raise ValueError(
            f"{count} classes cannot be divided into {', '.join(SPLITS)}: each needs {_LEAST}, "
            f"{sum(least)} in all. Add classes, or classify new images with a trained encoder: "
            "`psst adapt DIR --encoder PATH`."
        )
    exact = [count * fraction for fraction in fractions]
    sizes = [math.floor(share + 1e-9) for share in exact]
    by_remainder = sorted(range(len(sizes)), key=lambda i: (sizes[i] - exact[i], i))
    for i in by_remainder[: count - sum(sizes)]:
        sizes[i] += 1
    while any(short := [i for i, size in enumerate(sizes) if size < least[i]]):
        sizes[max(range(len(sizes)), key=lambda i: sizes[i] - least[i])] -= 1
        sizes[short[0]] += 1
    return sizes
