"""Data sets in one file a split: which file is which, by name, and what it is, by its first bytes."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from psst.images.source import SPLITS
from psst.images.sources.lists import SPLIT_NAMES

PICKLES = (".pkl", ".pickle", ".p")
_HEAD = 4096
_HELD_OUT = "train_phase_"  # of the base classes, in the files of Gidaris and Komodakis


@dataclass
class SplitFiles:
    """The files of a data set.

    Attributes:
        by_split: all that were found of each split.
        held_out: files with further images of the training classes.
    """

    by_split: dict[str, list[Path]] = field(default_factory=dict)
    held_out: list[Path] = field(default_factory=list)

    def describe(self) -> str | None:
        """Say in words what was found, None for nothing; see `Layout.sees`."""
        found = [path.name for split in SPLITS for path in self.by_split.get(split, [])]
        if not found:
            return None
        held_out = f"; left out: {len(self.held_out)} files of the training classes" if self.held_out else ""
        return f"{', '.join(found)}{held_out}"

    def require(self, root: str | Path, expects: str) -> dict[str, Path]:
        """Return the file of each split.

        Args:
            root: the user's folder, for messages.
            expects: names of the files, for messages.

        Raises:
            FileNotFoundError: a split has none.
            ValueError: a split has several.
        """
        missing = [split for split in SPLITS if split not in self.by_split]
        if missing:
            found = ", ".join(path.name for paths in self.by_split.values() for path in paths)
            raise FileNotFoundError(
                f"`data.init_args.root={root}` lacks the file for {' and '.join(missing)}; expected {expects}"
                + (f", found {found}." if found else ".")
            )
        several = next((paths for paths in self.by_split.values() if len(paths) > 1), None)
        if several:
            raise ValueError(
                f"`data.init_args.root={root}` holds {len(several)} files for one split: "
                f"{', '.join(str(path.relative_to(root)) for path in several)}; keep one of them there."
            )
        return {split: self.by_split[split][0] for split in SPLITS}


def find_split_files(
    folder: Path, is_one: Callable[[Path], bool], suffixes: Sequence[str] = PICKLES
) -> SplitFiles:
    """Find the files of a data set in ``folder``, or in the folders in it if it holds none itself.

    The last word of a name that is a split's says which split it is: ``mini-imagenet-cache-val.pkl``,
    ``CIFAR_FS_val.pickle``. ``..._train_phase_val`` and ``..._train_phase_test`` are held out.

    Args:
        folder: where to look.
        is_one: whether a file belongs to the data set.
        suffixes: of the names.
    """
    files = SplitFiles()
    for pattern in ("*", "*/*"):
        for path in sorted(folder.glob(pattern)):
            split = _split_of(path.stem)
            if path.suffix.lower() not in suffixes or split is None or not path.is_file() or not is_one(path):
                continue
            if _HELD_OUT in path.stem.lower() and split != "train":
                files.held_out.append(path)
            else:
                files.by_split.setdefault(split, []).append(path)
        if files.by_split:
            break
    return files


def begins_with_key(path: Path, keys: Sequence[str]) -> bool:
    """Return whether one of ``keys`` is among the first strings of a pickle; False if unreadable."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return False
    return any(
        form in head
        for key in keys
        for form in (
            b"U" + bytes([len(key)]) + key.encode(),
            b"X" + len(key).to_bytes(4, "little") + key.encode(),
            b"\x8c" + bytes([len(key)]) + key.encode(),
            b"S'" + key.encode() + b"'",
            b"V" + key.encode() + b"\n",
        )
    )


def _split_of(stem: str) -> str | None:
    words = re.findall(r"[a-z]+", stem.lower())
    return next((SPLIT_NAMES[word] for word in reversed(words) if word in SPLIT_NAMES), None)
