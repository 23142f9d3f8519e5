"""Omniglot's drawings: official zip archives, torchvision's folders, or any mixture of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from psst.images.decode import decode_image
from psst.images.files.archives import Entry, fingerprint, require_folder
from psst.images.source import SPLITS, ImageRecord
from psst.images.sources.layout import Layout
from psst.images.sources.omniglot_files import DRAWING, all_entries, sees
from psst.images.sources.omniglot_splits import (
    BACKGROUND_TEST,
    Protocol,
    check_protocol,
    evaluation_alphabets,
    split_of,
)

Rotations = Literal["none", "train", "all"]
Within = Literal["alphabet", "split"]

_NO_TURN, _QUARTERS = (0,), (0, 1, 2, 3)


@dataclass(frozen=True)
class Drawing:
    """A drawing and how many quarter turns, counterclockwise, make it one of its class."""

    entry: Entry
    turns: int = 0

    def __str__(self) -> str:
        return f"{self.entry} turned by {90 * self.turns} degrees" if self.turns else str(self.entry)


class OmniglotSource:
    """Characters of the official archives, zipped or extracted, in any mixture below one folder.

    Classes are named ``Alphabet/characterNN``. A drawing that is found twice (small1 and small2 share Greek
    and Latin) counts once. Ink is 255 on 0.

    Args:
        root: the folder.
        protocol: which characters train, validate and test; see `psst.datamodules.Omniglot`.
        test_alphabets: the alphabets that test under the protocol "background".
        rotations: the splits whose characters, turned by 0, 90, 180 and 270 degrees counterclockwise, are
            four classes ``Alphabet/characterNN/rot000`` to ``rot270``: none, "train", or "all" of them.
        train_within: "alphabet" groups the training classes by alphabet, "split" leaves them together.
        eval_within: the same for validation and test.

    Raises:
        ValueError: an option has no such value, or an alphabet is to validate and to test.
    """

    name = "omniglot"
    channels = 1

    def __init__(
        self,
        root: str | Path,
        protocol: Protocol = "minimal",
        test_alphabets: Sequence[str] = BACKGROUND_TEST,
        rotations: Rotations = "none",
        train_within: Within = "split",
        eval_within: Within = "alphabet",
    ) -> None:
        check_protocol(protocol, test_alphabets)
        _check_choice("rotations", rotations, get_args(Rotations))
        _check_choice("train_within", train_within, get_args(Within))
        _check_choice("eval_within", eval_within, get_args(Within))
        self.root = root
        self.protocol = protocol
        self.test_alphabets = tuple(test_alphabets)
        self.rotations = rotations
        self.train_within, self.eval_within = train_within, eval_within

    def key(self, size: int) -> dict[str, Any]:
        """The options, and the names, sizes and dates of the files."""
        files = fingerprint(require_folder(self.root), (".zip", ".png"))
        options: dict[str, Any] = {"protocol": self.protocol, "files": files}
        if self.protocol == "background":
            options["test_alphabets"] = sorted(self.test_alphabets)
        usual = {"rotations": "none", "train_within": "split", "eval_within": "alphabet"}
        return options | {name: getattr(self, name) for name in usual if getattr(self, name) != usual[name]}

    def scan(self) -> list[ImageRecord]:
        """List the drawings by split, alphabet, character and rotation; see `Source.scan`."""
        found = self._drawings()
        splits = split_of(self.protocol, found, self.test_alphabets, self.root)
        order = sorted(splits, key=lambda character: (SPLITS.index(splits[character]), character))
        return [
            record
            for alphabet, character in order
            for record in self._records(
                alphabet, character, splits[alphabet, character], found[alphabet, character]
            )
        ]

    def decode(self, record: ImageRecord, size: int) -> npt.NDArray[np.uint8]:
        """Return one drawing as ``[size, size, 1]``, white on black, turned as its class says."""
        drawing: Drawing = record.reference
        upright = decode_drawing(drawing.entry, size)
        return np.ascontiguousarray(np.rot90(upright, drawing.turns))

    def _records(
        self, alphabet: str, character: str, split: str, drawings: dict[str, Entry]
    ) -> Iterator[ImageRecord]:
        """Yield the drawings of one character, rotation by rotation."""
        turned = self.rotations == "all" or (self.rotations == "train" and split == "train")
        within = self.train_within if split == "train" else self.eval_within
        group = alphabet if within == "alphabet" else None
        for turns in _QUARTERS if turned else _NO_TURN:
            name = f"{alphabet}/{character}" + (f"/rot{90 * turns:03}" if turned else "")
            for drawing in sorted(drawings):
                yield ImageRecord(name, split, Drawing(drawings[drawing], turns), group)

    def _drawings(self) -> dict[tuple[str, str], dict[str, Entry]]:
        """Return the drawings of each character by their names."""
        found: dict[tuple[str, str], dict[str, Entry]] = {}
        everything = self.protocol in ("vinyals", "official")
        for entry in all_entries(require_folder(self.root)):
            match = DRAWING.search(entry.name)
            if match and (everything or not _is_evaluation(entry.name, match["alphabet"])):
                character = found.setdefault((match["alphabet"], match["character"]), {})
                character.setdefault(match["drawing"], entry)
        if not found:
            raise FileNotFoundError(
                f"`data.init_args.root={self.root}` holds no Omniglot drawings: expected "
                "images_background*.zip, or folders like Greek/character01/0394_01.png; get them from the "
                "repository brendenlake/omniglot, folder python."
            )
        return found


def decode_drawing(entry: Entry, size: int, channels: int = 1) -> npt.NDArray[np.uint8]:
    """Return a drawing, stored dark on light, as ``[size, size, channels]`` with ink 255 on 0.

    Raises:
        ValueError: it is damaged.
    """
    return 255 - decode_image(entry.read(), str(entry), size, channels)


def layouts(**options: Any) -> tuple[Layout, ...]:
    """Return the one layout, any mixture of archives and folders; options as of `OmniglotSource`."""
    expects = "images_background*.zip, images_evaluation.zip, or folders like Greek/character01/0394_01.png"
    return (Layout(expects, sees, partial(OmniglotSource, **options)),)


LAYOUTS = layouts()


def _is_evaluation(name: str, alphabet: str) -> bool:
    return "images_evaluation/" in name or alphabet in evaluation_alphabets()


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        listed = ", ".join(f"'{choice}'" for choice in choices[:-1])
        raise ValueError(f"`data.init_args.{name}={value}` must be {listed} or '{choices[-1]}'.")
