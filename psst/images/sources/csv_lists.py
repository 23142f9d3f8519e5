"""Images in a folder or in tar shards, with one csv file a split."""

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from psst.images.decode import IMAGE_SUFFIXES, decode_image
from psst.images.files.archives import Entry, archive_entries, fingerprint, folder_entries, require_folder
from psst.images.source import SPLITS, ImageRecord
from psst.images.sources.layout import Layout

_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")
_EASYFSL = ("image_name", "class_name")
_COLUMNS = (("filename", "label"), _EASYFSL)


class CsvSource:
    """A folder with train.csv, val.csv, test.csv and their images.

    Columns are ``filename`` and ``label``, or easyfsl's ``image_name`` and ``class_name``. The images lie in
    the folder, in ``images/`` below it, in a folder a class, or under such a path in tar or zip files beside
    the csv files. Images that no csv names are left out.

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
        return {"files": fingerprint(require_folder(self.root), (".csv", *_ARCHIVES, *IMAGE_SUFFIXES))}

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
        places = _find([row for split in SPLITS for row in rows[split]], root)
        missing = [name for name, place in places.items() if place is None]
        if missing:
            raise FileNotFoundError(
                f"{len(missing)} of {len(lines)} images that the csv files of `data.init_args.root={root}` "
                f"name are missing, first: {missing[0]}; put them into `{root / 'images'}` or a tar file "
                "beside the csv files."
            )
        return [
            ImageRecord(label, split, places[name])
            for split in SPLITS
            for name, label in sorted(rows[split], key=lambda row: (row[1], row[0]))
        ]

    def decode(self, record: ImageRecord, size: int) -> npt.NDArray[np.uint8]:
        """Return one image as ``[size, size, channels]``."""
        entry: Entry = record.reference
        return decode_image(entry.read(), str(entry), size, self.channels)


def _find(rows: Sequence[tuple[str, str]], root: Path) -> dict[str, Entry | None]:
    """Return the image of each line; archives are opened only if images are not in the folder."""
    entries: dict[str, Entry] = {}
    places: dict[str, Entry | None] = {}
    archived = (entry for path in _archives(root) for entry in archive_entries(path))
    for found in (folder_entries(root, IMAGE_SUFFIXES), archived):
        for entry in found:
            name = entry.name.removeprefix("./")
            entries.setdefault(name, entry)
            entries.setdefault(name.removeprefix("images/"), entry)
        for name, label in rows:
            tried = (name, f"{label}/{name}", name.removeprefix(f"{label}/"))
            places[name] = next((entries[path] for path in tried if path in entries), None)
        if None not in places.values():
            break
    return places


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
            chosen = next((pair for pair in _COLUMNS if set(pair) <= set(columns)), None)
            if chosen is None:
                raise ValueError(f"`{path}` has the columns {list(columns)}; line 1 must be filename,label.")
            rows = [(row[chosen[0]], row[chosen[1]]) for row in reader]
            if chosen == _EASYFSL:  # names are unique within a class only
                rows = [(name and f"{label}/{name}", label) for name, label in rows]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"`{path}` is not a csv file in UTF-8 ({error}).") from error
    short = [line for line, row in enumerate(rows, start=2) if not all(row)]
    if short:
        raise ValueError(f"line {short[0]} of `{path}` lacks a filename or a label; complete or remove it.")
    if not rows:
        raise ValueError(f"`{path}` names no images; it needs one line filename,label for each.")
    return rows


def _sees(folder: Path) -> str | None:
    """Describe the csv files and where their images may be; see `Layout.sees`."""
    classes, total = {}, 0
    for split in SPLITS:
        try:
            rows = _read_csv(folder / f"{split}.csv")
        except (OSError, ValueError):
            continue
        classes[split], total = len({label for _, label in rows}), total + len(rows)
    if not classes:
        return None
    try:
        places = _image_places(folder)
    except OSError as error:
        places = str(error)
    faults = [f"{split}.csv" for split in SPLITS if split not in classes]
    lacks = f" ({' and '.join(faults)} missing or not such a list)" if faults else ""
    sizes = ", ".join(f"{split} ({count})" for split, count in classes.items())
    return f"csv lists of {total:,} images of the classes of {sizes}{lacks}; {places}"


def _archives(root: Path) -> list[Path]:
    return [path for path in sorted(root.iterdir()) if path.name.lower().endswith(_ARCHIVES)]


def _image_places(folder: Path) -> str:
    places = {"archives": len(_archives(folder)), "folders": sum(path.is_dir() for path in folder.iterdir())}
    return " and ".join(f"{count} {noun}" for noun, count in places.items() if count) or "no images"


LAYOUTS = (
    Layout(
        "train.csv, val.csv and test.csv with the columns filename,label, and images/ or archives",
        _sees,
        lambda root: CsvSource(root, "mini_imagenet"),
    ),
)
"""Lists of images, one a split."""
