"""Which characters of Omniglot train, validate and test under each protocol."""

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Literal, get_args

from psst.images.sources.published import published_rows

Protocol = Literal["minimal", "background", "vinyals", "official"]
Character = tuple[str, str]  # alphabet, "characterNN"

MINIMAL_TRAIN: tuple[str, ...] = ("Balinese", "Early_Aramaic", "Greek", "Korean", "Latin")
MINIMAL_VAL: tuple[str, ...] = ("Japanese_(katakana)",)
MINIMAL_TEST: tuple[str, ...] = ("Sanskrit", "Tagalog")
BACKGROUND_VAL = ("Armenian", "Bengali", "Early_Aramaic", "Hebrew", "Mkhedruli_(Georgian)")
BACKGROUND_TEST = (*MINIMAL_VAL, *MINIMAL_TEST)

_HOLDS = {
    "minimal": "images_background_small1.zip and images_background_small2.zip hold them",
    "background": "images_background.zip holds them; `data.init_args.test_alphabets` chooses what tests",
    "vinyals": "images_background.zip and images_evaluation.zip hold them",
    "official": "images_background.zip and images_evaluation.zip hold them",
}


@cache
def vinyals_split() -> Mapping[Character, str]:
    """Return the split of all 1623 characters: 1028 train, 172 validate, 423 test."""
    return {character: split for split, _, character in _listed()}


@cache
def official_split() -> Mapping[Character, str]:
    """Return the split of all 1623 characters by the archives they come in.

    The 659 of the twenty evaluation alphabets test. Of the 964 background characters, those of Vinyals' five
    validation alphabets (172) validate and the other 25 alphabets (792) train.
    """
    return {
        character: "test" if archive == "evaluation" else split for split, archive, character in _listed()
    }


@cache
def evaluation_alphabets() -> frozenset[str]:
    """Return the twenty alphabets of images_evaluation.zip."""
    return frozenset(alphabet for _, archive, (alphabet, _) in _listed() if archive == "evaluation")


def check_protocol(protocol: str, test_alphabets: Sequence[str]) -> None:
    """Raise ValueError if there is no such protocol, or if alphabets are to validate and test."""
    names = get_args(Protocol)
    if protocol not in names:
        listed = ", ".join(f"'{name}'" for name in names[:-1])
        raise ValueError(f"`data.init_args.protocol={protocol}` must be {listed} or '{names[-1]}'.")
    clash = sorted(set(test_alphabets) & set(BACKGROUND_VAL))
    if protocol == "background" and clash:
        raise ValueError(
            f"`data.init_args.test_alphabets` names {clash}, which validate; test on alphabets other "
            f"than {list(BACKGROUND_VAL)}."
        )


def split_of(
    protocol: Protocol, found: Collection[Character], test_alphabets: Sequence[str], root: object
) -> Mapping[Character, str]:
    """Return the split of each character that ``protocol`` uses.

    Args:
        protocol: its name.
        found: characters that are at hand.
        test_alphabets: what tests under "background".
        root: where they were found, for the message.

    Raises:
        FileNotFoundError: characters that the protocol needs were not found.
    """
    if protocol in ("vinyals", "official"):
        splits = vinyals_split() if protocol == "vinyals" else official_split()
        _check_alphabets(protocol, {alphabet for alphabet, _ in splits}, found, root)
        missing = sorted(splits.keys() - set(found))
        if missing:
            raise FileNotFoundError(
                f"`data.init_args.protocol={protocol}` needs all {len(splits)} characters, {len(missing)} "
                f"are not in `data.init_args.root={root}`, first: {'/'.join(missing[0])}; {_HOLDS[protocol]}."
            )
        return splits
    by_alphabet = _by_alphabet(protocol, {alphabet for alphabet, _ in found}, test_alphabets)
    _check_alphabets(protocol, by_alphabet.keys(), found, root)
    return {character: by_alphabet[character[0]] for character in found if character[0] in by_alphabet}


def _by_alphabet(protocol: str, alphabets: Collection[str], test: Sequence[str]) -> dict[str, str]:
    """Return the split of each alphabet, where a protocol splits by alphabet and takes what is at hand."""
    if protocol == "minimal":
        splits = {"train": MINIMAL_TRAIN, "val": MINIMAL_VAL, "test": MINIMAL_TEST}
    else:
        held_out = {*BACKGROUND_VAL, *test}
        train = tuple(sorted(alphabet for alphabet in alphabets if alphabet not in held_out))
        splits = {"train": train, "val": BACKGROUND_VAL, "test": tuple(test)}
    return {alphabet: split for split, names in splits.items() for alphabet in names}


def _check_alphabets(
    protocol: str, needed: Collection[str], found: Collection[Character], root: object
) -> None:
    alphabets = {alphabet for alphabet, _ in found}
    missing = sorted(set(needed) - alphabets)
    if missing:
        raise FileNotFoundError(
            f"`data.init_args.protocol={protocol}` needs the alphabets {missing}, which are not in "
            f"`data.init_args.root={root}` ({len(alphabets)} others are): {_HOLDS[protocol]}."
        )


@cache
def _listed() -> tuple[tuple[str, str, Character], ...]:
    """Return split, official archive and character of every line and number."""
    rows = []
    for split, archive, alphabet, numbers in published_rows("omniglot_vinyals.txt"):
        first, last = map(int, numbers.split("-"))
        rows += [(split, archive, (alphabet, f"character{number:02}")) for number in range(first, last + 1)]
    return tuple(rows)
