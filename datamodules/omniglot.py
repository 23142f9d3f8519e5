"""Omniglot (Lake et al., Science 350, 2015): handwritten characters of fifty alphabets."""

import re
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import numpy.typing as npt

from psst.datamodules.episodic import InLayouts
from psst.images import SPLITS, ImageRecord
from psst.images.decode import decode_image
from psst.images.files.archives import Entry, archive_entries
from psst.images.files.download import RemoteFile
from psst.images.sources.image_tree import ImageTree
from psst.images.sources.layout import Layout, published_rows

_Protocol = Literal["minimal", "background", "vinyals", "official"]
_Rotations = Literal["none", "train", "all"]
_Within = Literal["alphabet", "split"]
_Character = tuple[str, str]  # alphabet, "characterNN"

_MINIMAL: Mapping[str, tuple[str, ...]] = {  # split -> alphabets of the protocol "minimal"
    "train": ("Balinese", "Early_Aramaic", "Greek", "Korean", "Latin"),
    "val": ("Japanese_(katakana)",),
    "test": ("Sanskrit", "Tagalog"),
}
_BACKGROUND_VAL = ("Armenian", "Bengali", "Early_Aramaic", "Hebrew", "Mkhedruli_(Georgian)")
_BACKGROUND_TEST = (*_MINIMAL["val"], *_MINIMAL["test"])

# Path of a drawing: alphabet, character, number of the character and of its drawer.
_DRAWING = re.compile(r"(?:^|/)(?P<alphabet>[^/]+)/(?P<character>character\d+)/(?P<drawing>\d+_\d+\.png)$")
_EXPECTS = "images_background*.zip, images_evaluation.zip, or folders like Greek/character01/0394_01.png"
_LEVELS = 3  # folders that alphabets or archives may lie in, to be seen
_LOOK = 2_000  # files that a look passes


def _remote(name: str, known_hash: str, size: int | None = None) -> RemoteFile:
    address = f"https://raw.githubusercontent.com/brendenlake/omniglot/master/python/{name}"
    return RemoteFile(name, (address,), known_hash, size)


_SMALL = tuple(
    _remote(f"images_background_small{number}.zip", f"sha256:{digest}", size)
    for number, digest, size in (
        (1, "f38eb80f801274ac2b4dff5b24289016bfaba4a7d5bb50deebf27104ad6cb8a4", 1_319_022),
        (2, "3ccaa407515a8778e5d0861875af38b17e418f301ad5bb3b5a6b65d901a41c7f", 1_580_917),
    )
)
_BACKGROUND = _remote("images_background.zip", "md5:68d2efa1b9178cc56df9314c21c6e718")
_EVALUATION = _remote("images_evaluation.zip", "md5:6b91aef0f799c5bb55b94e3f2daec811")
_BOTH = (_BACKGROUND, _EVALUATION)
_NEEDED: dict[str, tuple[RemoteFile, ...]] = {"minimal": _SMALL, "background": (_BACKGROUND,)}
_NEEDED |= {"vinyals": _BOTH, "official": _BOTH}


@dataclass(frozen=True)
class _Drawing:
    """A drawing and how many quarter turns, counterclockwise, make it one of its class."""

    entry: Entry
    turns: int = 0

    def __str__(self) -> str:
        return f"{self.entry} turned by {90 * self.turns} degrees" if self.turns else str(self.entry)


@dataclass
class _OmniglotSource:
    """Characters of the archives, zipped or extracted; attributes are the arguments of `Omniglot`."""

    root: str | Path
    protocol: _Protocol = "minimal"
    rotations: _Rotations = "none"
    train_within: _Within = "split"
    eval_within: _Within = "alphabet"
    name: ClassVar[str] = "omniglot"
    channels: ClassVar[int] = 1

    def __post_init__(self) -> None:
        for option in ("protocol", "rotations", "train_within", "eval_within"):
            value, choices = getattr(self, option), get_args(type(self).__annotations__[option])
            if value not in choices:
                *names, last = (f"'{choice}'" for choice in choices)
                raise ValueError(f"`data.init_args.{option}={value}` must be {', '.join(names)} or {last}.")

    def key(self, size: int) -> dict[str, Any]:
        """The options, and the names, sizes and dates of the files."""
        tree = ImageTree.grow_whole(self.root)
        return {**vars(self), "root": tree.fingerprint(_zips(tree))}  # where they lie does not matter

    def scan(self) -> list[ImageRecord]:
        """List the drawings by split, alphabet, character and rotation; see `Source.scan`."""
        found = self._drawings()
        splits = self._splits(found)
        records = []
        for character in sorted(splits, key=lambda character: (SPLITS.index(splits[character]), character)):
            alphabet, split = character[0], splits[character]
            turned = self.rotations == "all" or (self.rotations == "train" and split == "train")
            within = self.train_within if split == "train" else self.eval_within
            group = alphabet if within == "alphabet" else None
            for turns in range(4) if turned else (0,):
                name = "/".join(character) + (f"/rot{90 * turns:03}" if turned else "")
                for _, entry in sorted(found[character].items(), key=lambda item: item[0]):
                    records.append(ImageRecord(name, split, _Drawing(entry, turns), group))
        return records

    def decode(self, record: ImageRecord, size: int) -> npt.NDArray[np.uint8]:
        """Return one drawing as ``[size, size, 1]``, white on black, turned as its class says."""
        drawing: _Drawing = record.reference
        upright = 255 - decode_image(drawing.entry.read(), str(drawing.entry), size, self.channels)
        return np.ascontiguousarray(np.rot90(upright, drawing.turns))

    def _splits(self, found: Mapping[_Character, Any]) -> Mapping[_Character, str]:
        """Return the split of each character that the protocol uses; those it needs have to be there."""
        alphabets, official = {alphabet for alphabet, _ in found}, self.protocol == "official"
        if official or self.protocol == "vinyals":
            splits = {
                character: "test" if official and archive == "evaluation" else split
                for character, (split, archive) in _published().items()
            }
            needed = {alphabet for alphabet, _ in splits}
        else:
            named = _MINIMAL
            if self.protocol == "background":  # what neither validates nor tests, and is at hand, trains
                evaluation = {
                    name for (name, _), (_, archive) in _published().items() if archive == "evaluation"
                }
                rest = alphabets - {*_BACKGROUND_VAL, *_BACKGROUND_TEST, *evaluation}
                named = {"train": tuple(rest), "val": _BACKGROUND_VAL, "test": _BACKGROUND_TEST}
            split_of = {alphabet: split for split, names in named.items() for alphabet in names}
            splits = {character: split_of[character[0]] for character in found if character[0] in split_of}
            needed = set(split_of)
        given, root = f"`data.init_args.protocol={self.protocol}`", f"`data.init_args.root={self.root}`"
        holders = f"{' and '.join(file.name for file in _NEEDED[self.protocol])} hold them"
        if missing := sorted(needed - alphabets):
            raise FileNotFoundError(
                f"{given} needs the alphabets {missing}, which are not in {root} ({len(alphabets)} others "
                f"are): {holders}."
            )
        if lost := sorted(splits.keys() - found.keys()):
            law = f"needs all {len(splits)} characters, {len(lost)} are not in {root}"
            raise FileNotFoundError(f"{given} {law}, first: {'/'.join(lost[0])}; {holders}.")
        return splits

    def _drawings(self) -> dict[_Character, dict[str, Entry]]:
        """Return the drawings of each character by their names; one that is found twice counts once."""
        found: dict[_Character, dict[str, Entry]] = defaultdict(dict)
        tree = ImageTree.grow_whole(self.root)
        zipped = (entry for path in _zips(tree) for entry in archive_entries(tree.root / path))
        for entry in chain(zipped, tree.entries()):
            if match := _DRAWING.search(entry.name):
                found[match["alphabet"], match["character"]].setdefault(match["drawing"], entry)
        if not found:
            raise FileNotFoundError(
                f"`data.init_args.root={self.root}` holds no Omniglot drawings: expected {_EXPECTS}; get "
                "them from the repository brendenlake/omniglot, folder python."
            )
        return found


def _zips(tree: ImageTree) -> list[str]:
    return sorted(path for path in tree.others if path.lower().endswith(".zip"))


@cache
def _published() -> Mapping[_Character, tuple[str, str]]:
    """Return the split of Vinyals et al. and the official archive of all 1623 characters."""
    found = {}
    for split, archive, alphabet, numbers in published_rows("omniglot_vinyals.txt"):
        first, last = map(int, numbers.split("-"))
        for number in range(first, last + 1):
            found[alphabet, f"character{number:02}"] = split, archive
    return found


def _sees(folder: Path) -> bool:
    """Tell by names if drawings lie in ``folder`` or up to two levels below, or in zip files there."""
    tree = ImageTree.grow(folder, limit=_LOOK)
    found = any(parts[-1] == "character01" and 2 <= len(parts) <= _LEVELS + 1 for parts in tree.folders)
    for path in _zips(tree):
        with suppress(OSError, ValueError):  # what cannot be read is not seen
            entries = archive_entries(folder / path) if path.count("/") < _LEVELS else iter(())
            found = found or any(_DRAWING.search(entry.name) for entry in entries)
    return found


class Omniglot(InLayouts):
    """Omniglot in one of four protocols; the archives are read as they are.

    * "minimal": the five alphabets of small1 train, Japanese (katakana) validates, Sanskrit and Tagalog test:
      images_background_small1.zip and images_background_small2.zip are enough.
    * "background": Vinyals' five validation alphabets (Armenian, Bengali, Early Aramaic, Hebrew, Mkhedruli)
      validate, katakana, Sanskrit and Tagalog test, all other background alphabets train.
    * "vinyals": 1028/172/423 characters of Vinyals et al. (2016), in the lists of Snell et al. (2017); needs
      images_evaluation.zip too. Eight evaluation alphabets train, so the official one-shot runs are no test
      of these models. Published accuracies take `rotations: all` and `eval_within: split`.
    * "official": the twenty evaluation alphabets (659 characters) test. Of the thirty background alphabets
      Vinyals' five validate (172 characters) and 25 train (792): the published split has no validation set.

    The characters of Gurmukhi train and test under "vinyals", 41 and 4 of them; under the other protocols no
    alphabet is in two splits.

    Args:
        root: folder with the official archives as they are, torchvision's ``omniglot-py``, other folders with
            ``Alphabet/characterNN/*.png`` in them, or any mixture.
        protocol: see above.
        rotations: splits in which every character turned by 0, 90, 180 and 270 degrees counts as four
            classes, named ``Alphabet/characterNN/rot090``: "none" of them, "train", or "all", as Snell et al.
            did.
        train_within: "split" draws training episodes from all alphabets, "alphabet" each from one of them,
            every alphabet as often as the others; one with fewer than `episodes.way` gives all it has.
        eval_within: the same for validation and test; "alphabet", which is harder, reports every alphabet.
        size: side length in pixels; the drawings are 105 x 105.
        **shared: see `EpisodicDataModule`.

    Raises:
        ValueError: an option has no such value.

    Example:
        >>> data = Omniglot("data/omniglot", episodes=Episodes(way=20, query=5))
    """

    channels = 1
    layouts = (Layout(_EXPECTS, _sees, _OmniglotSource),)
    remote: tuple[RemoteFile, ...] = _BOTH
    manual = (
        "https://github.com/brendenlake/omniglot, folder python, has the archives; they are read as they are."
    )

    def __init__(
        self,
        root: str,
        protocol: _Protocol = "minimal",
        rotations: _Rotations = "none",
        train_within: _Within = "split",
        eval_within: _Within = "alphabet",
        size: int = 28,
        **shared: Any,
    ) -> None:
        super().__init__(root, size, **shared)
        self._source = _OmniglotSource(root, protocol, rotations, train_within, eval_within)
        self.remote = _NEEDED[protocol]
