"""Omniglot's drawings: official zip archives, extracted folders, or any mixture of them."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from psst.images.archives import Entry, fingerprint, folder_entries, require_folder, zip_entries
from psst.images.decode import decode_image
from psst.images.source import ImageRecord

Protocol = Literal["minimal", "background"]
MINIMAL_TRAIN: tuple[str, ...] = ("Balinese", "Early_Aramaic", "Greek", "Korean", "Latin")
MINIMAL_VAL: tuple[str, ...] = ("Japanese_(katakana)",)
MINIMAL_TEST: tuple[str, ...] = ("Sanskrit", "Tagalog")
BACKGROUND_VAL = ("Armenian", "Bengali", "Early_Aramaic", "Hebrew", "Mkhedruli_(Georgian)")
BACKGROUND_TEST = (*MINIMAL_VAL, *MINIMAL_TEST)

_DRAWING = re.compile(r"(?:^|/)(?P<alphabet>[^/]+)/(?P<character>character\d+)/(?P<drawing>\d+_\d+\.png)$")


class OmniglotSource:
    """Characters of the official background archives, zipped or extracted, in any mixture below one folder.

    Classes are named ``Alphabet/characterNN``; validation and test classes are grouped by alphabet. A drawing
    that is found twice (small1 and small2 share Greek and Latin) counts once. Ink is 255 on 0.

    Args:
        root: the folder.
        protocol: which alphabets train, validate and test; see `Omniglot`.
        test_alphabets: the alphabets that test under the protocol "background".
    """

    name = "omniglot"
    channels = 1

    def __init__(
        self,
        root: str | Path,
        protocol: Protocol = "minimal",
        test_alphabets: Sequence[str] = BACKGROUND_TEST,
    ) -> None:
        if protocol not in ("minimal", "background"):
            raise ValueError(f"`data.init_args.protocol={protocol}` must be 'minimal' or 'background'.")
        clash = sorted(set(test_alphabets) & set(BACKGROUND_VAL))
        if protocol == "background" and clash:
            raise ValueError(
                f"`data.init_args.test_alphabets` names {clash}, which validate; test on alphabets other "
                f"than {list(BACKGROUND_VAL)}."
            )
        self.root = root
        self.protocol = protocol
        self.test_alphabets = tuple(test_alphabets)

    def key(self, size: int) -> dict[str, Any]:
        """The protocol, and the names, sizes and dates of the files."""
        files = fingerprint(require_folder(self.root), (".zip", ".png"))
        options: dict[str, Any] = {"protocol": self.protocol, "files": files}
        if self.protocol == "background":
            options["test_alphabets"] = sorted(self.test_alphabets)
        return options

    def scan(self) -> list[ImageRecord]:
        """List the drawings by split, alphabet and character; see `Source.scan`."""
        found = self._drawings()
        split_of = self._splits(sorted({alphabet for alphabet, _, _ in found}))
        order = {"train": 0, "val": 1, "test": 2}
        keys = [key for key in sorted(found) if key[0] in split_of]
        keys.sort(key=lambda key: order[split_of[key[0]]])  # stable: alphabets stay sorted within a split
        return [
            ImageRecord(
                f"{alphabet}/{character}",
                split_of[alphabet],
                found[alphabet, character, drawing],
                None if split_of[alphabet] == "train" else alphabet,
            )
            for alphabet, character, drawing in keys
        ]

    def decode(self, record: ImageRecord, size: int) -> npt.NDArray[np.uint8]:
        """Return one drawing as ``[size, size, 1]``, white on black."""
        entry: Entry = record.reference
        return 255 - decode_image(entry.read(), str(entry), size, channels=1)

    def _drawings(self) -> dict[tuple[str, str, str], Entry]:
        found: dict[tuple[str, str, str], Entry] = {}
        for entry in _all_entries(require_folder(self.root)):
            match = _DRAWING.search(entry.name)
            if match and "images_evaluation/" not in entry.name:
                found.setdefault((match["alphabet"], match["character"], match["drawing"]), entry)
        if not found:
            raise FileNotFoundError(
                f"`data.init_args.root={self.root}` holds no Omniglot drawings: expected "
                "images_background*.zip, or folders like Greek/character01/0394_01.png; get them from the "
                "repository brendenlake/omniglot, folder python."
            )
        return found

    def _splits(self, alphabets: Sequence[str]) -> dict[str, str]:
        """Map each alphabet that is used to its split."""
        if self.protocol == "minimal":
            splits = {"train": MINIMAL_TRAIN, "val": MINIMAL_VAL, "test": MINIMAL_TEST}
            source = "images_background_small1.zip and images_background_small2.zip hold them"
        else:
            held_out = {*BACKGROUND_VAL, *self.test_alphabets}
            train = tuple(alphabet for alphabet in alphabets if alphabet not in held_out)
            splits = {"train": train, "val": BACKGROUND_VAL, "test": self.test_alphabets}
            source = "images_background.zip holds them; `data.init_args.test_alphabets` chooses what tests"
        split_of = {alphabet: split for split, names in splits.items() for alphabet in names}
        missing = sorted(split_of.keys() - set(alphabets))
        if missing:
            raise FileNotFoundError(
                f"`data.init_args.protocol={self.protocol}` needs the alphabets {missing}, which are not in "
                f"`data.init_args.root={self.root}` ({len(alphabets)} others are): {source}."
            )
        return split_of


def _all_entries(root: Path) -> Iterator[Entry]:
    for path in sorted(root.glob("*.zip")):
        yield from zip_entries(path)
    yield from folder_entries(root, (".png",))
