"""Which characters of Omniglot train, validate and test under each protocol."""

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Literal

from psst.images.sources.layout import published_rows

Protocol = Literal["minimal", "background", "vinyals", "official"]
_Character = tuple[str, str]  # alphabet, "characterNN"

MINIMAL: Mapping[str, tuple[str, ...]] = {
    "train": ("Balinese", "Early_Aramaic", "Greek", "Korean", "Latin"),
    "val": ("Japanese_(katakana)",),
    "test": ("Sanskrit", "Tagalog"),
}
"""Split -> alphabets of the protocol "minimal"."""

BACKGROUND_VAL = ("Armenian", "Bengali", "Early_Aramaic", "Hebrew", "Mkhedruli_(Georgian)")
BACKGROUND_TEST = (*MINIMAL["val"], *MINIMAL["test"])

_HOLDS = {
    "minimal": "images_background_small1.zip and images_background_small2.zip hold them",
    "background": "images_background.zip holds them; `data.init_args.test_alphabets` chooses what tests",
    "vinyals": "images_background.zip and images_evaluation.zip hold them",
    "official": "images_background.zip and images_evaluation.zip hold them",
}


@cache
def published_split(protocol: Literal["vinyals", "official"]) -> Mapping[_Character, str]:
    """Return the split of all 1623 characters.

    "vinyals": 1028 train, 172 validate, 423 test. "official": the 659 of the twenty evaluation alphabets
    test; of the 964 others those of Vinyals' five validation alphabets (172) validate, the rest (792) train.
    """
    official = protocol == "official"
    return {
        character: "test" if official and archive == "evaluation" else split
        for split, archive, character in _listed()
    }


def split_of(
    protocol: Protocol, found: Collection[_Character], test_alphabets: Sequence[str], root: object
) -> Mapping[_Character, str]:
    """Return the split of each character that ``protocol`` uses, of those ``found`` below ``root``.

    Raises:
        FileNotFoundError: characters that the protocol needs were not found.
    """
    alphabets = {alphabet for alphabet, _ in found}
    if protocol == "vinyals" or protocol == "official":
        splits = published_split(protocol)
        _require({alphabet for alphabet, _ in splits}, alphabets, protocol, root)
        missing = sorted(splits.keys() - set(found))
        if missing:
            raise FileNotFoundError(
                f"`data.init_args.protocol={protocol}` needs all {len(splits)} characters, {len(missing)} "
                f"are not in `data.init_args.root={root}`, first: {'/'.join(missing[0])}; {_HOLDS[protocol]}."
            )
        return splits
    named = MINIMAL
    if protocol == "background":  # what neither validates nor tests, and is at hand, trains
        rest = alphabets - {*BACKGROUND_VAL, *test_alphabets}
        named = {"train": tuple(rest), "val": BACKGROUND_VAL, "test": tuple(test_alphabets)}
    by_alphabet = {alphabet: split for split, names in named.items() for alphabet in names}
    _require(by_alphabet.keys(), alphabets, protocol, root)
    return {character: by_alphabet[character[0]] for character in found if character[0] in by_alphabet}


def _require(needed: Collection[str], alphabets: Collection[str], protocol: str, root: object) -> None:
    missing = sorted(set(needed) - set(alphabets))
    if missing:
        raise FileNotFoundError(
            f"`data.init_args.protocol={protocol}` needs the alphabets {missing}, which are not in "
            f"`data.init_args.root={root}` ({len(alphabets)} others are): {_HOLDS[protocol]}."
        )


@cache
def _listed() -> tuple[tuple[str, str, _Character], ...]:
    """Return split, official archive and character of every line and number."""
    rows = []
    for split, archive, alphabet, numbers in published_rows("omniglot_vinyals.txt"):
        first, last = map(int, numbers.split("-"))
        rows += [(split, archive, (alphabet, f"character{number:02}")) for number in range(first, last + 1)]
    return tuple(rows)
