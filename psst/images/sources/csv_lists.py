"""Images in a folder or in tar shards, with one csv file a split."""

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from psst.images.archives import Entry, fingerprint, folder_entries, require_folder, tar_entries
from psst.images.decode import decode_image
from psst.images.source import SPLITS, ImageRecord

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
_COLUMNS = ("filename", "label")


class CsvSource:
    """A folder with train.csv, val.csv, test.csv (columns ``filename``, ``label``) and their images.

    The images lie in the folder, in ``images/`` below it, or under either path in uncompressed tar files
    beside the csv files. Images that no csv names are left out.

    Args:
        root: the folder.
        name: of the data set.
        channels: 1 for grayscale, 3 for color.
    """

    def __init__(self, root: str | Path, name: str, channels: int = 3) -> None:
        self.root = root
        self.name = name
        self.channels = channels

    def key(self, size: int) -> dict[str, Any]:
        """The names, sizes and dates of the files."""
        return {"files": fingerprint(require_folder(self.root), (".csv", ".tar", *IMAGE_SUFFIXES))}

    def scan(self) -> list[ImageRecord]:
        """List the images that the csv files name, by split, class and file; see `Source.scan`."""
        root = require_folder(self.root)
        rows = {split: _read_csv(root / f"{split}.csv") for split in SPLITS}
        lines = Counter(name for split in SPLITS for name, _ in rows[split])
        twice = [name for name, count in lines.items() if count > 1]
        if twice:
            raise ValueError(
                f"{len(twice)} files are listed more than once in the csv files of "
                f"`data.init_args.root={root}`, first: {twice[0]}; an image belongs to one "
                "class of one split: remove the extra lines."
            )
        entries = self._entries(root)
        missing = [name for name in lines if name not in entries]
        if missing:
            raise FileNotFoundError(
                f"{len(missing)} of {len(lines)} images that the csv files of `data.init_args.root={root}` "
                f"name are missing, first: {missing[0]}; put them into `{root / 'images'}` or a tar file "
                "beside the csv files."
            )
        return [
            ImageRecord(label, split, entries[name])
            for split in SPLITS
            for name, label in sorted(rows[split], key=lambda row: (row[1], row[0]))
        ]

    def decode(self, record: ImageRecord, size: int) -> npt.NDArray[np.uint8]:
        """Return one image as ``[size, size, channels]``."""
        entry: Entry = record.reference
        return decode_image(entry.read(), str(entry), size, self.channels)

    def _entries(self, root: Path) -> dict[str, Entry]:
        """Index every image by the name that a csv may give it."""
        entries: dict[str, Entry] = {}
        shards = (entry for path in sorted(root.glob("*.tar")) for entry in tar_entries(path))
        for entry in (*folder_entries(root, IMAGE_SUFFIXES), *shards):
            name = entry.name.removeprefix("./")
            entries.setdefault(name, entry)
            entries.setdefault(name.removeprefix("images/"), entry)
        return entries


def _read_csv(path: Path) -> list[tuple[str, str]]:
    if not path.is_file():
        raise FileNotFoundError(
            f"`{path}` is missing; `data.init_args.root` needs train.csv, val.csv and test.csv with the "
            "columns filename,label."
        )
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or []
            if not set(_COLUMNS) <= set(columns):
                raise ValueError(f"`{path}` has the columns {list(columns)}; line 1 must be filename,label.")
            rows = [(row["filename"], row["label"]) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"`{path}` is not a csv file in UTF-8 ({error}).") from error
    short = [line for line, row in enumerate(rows, start=2) if not all(row)]
    if short:
        raise ValueError(f"line {short[0]} of `{path}` lacks a filename or a label; complete or remove it.")
    if not rows:
        raise ValueError(f"`{path}` names no images; it needs one line filename,label for each.")
    return rows
