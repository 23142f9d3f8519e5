"""Which classes, or which images, train, validate and test: as the user's lists say, or drawn with a seed."""

import csv
import difflib
import hashlib
import io
import json
import unicodedata
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from psst.images.source import SPLITS

SPLIT_NAMES: Mapping[str, str] = {
    **dict.fromkeys(("train", "training", "base"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing", "novel"), "test"),
}
"""What files, folders and csv columns call the three splits, in small letters."""

SEEDED, UNDIVIDED = "seeded", "undivided"  # of the latter all classes are to train on
_SHARES = {"train": 16, "val": 4, "test": 5}  # of 25 classes
_LEAST = 2  # an episode tells two classes apart
_CLASS_COLUMNS = ("class", "class_name", "label")
_IMAGE_COLUMNS = ("filename", "image_name", "image", "file", "path")
_IN_CLASS = "image_name"  # easyfsl's column: names are unique within a class only


class ListedRow(NamedTuple):
    """What a list says of a class, or of one image."""

    class_name: str
    split: str
    image: str = ""  # its path as written there; "" in a list of classes
    group: str | None = None  # what is in the column of groups


def read_rows(path: str | Path, group_column: str | None = None, key: str = "splits") -> list[ListedRow]:
    """Read lists of classes or of images.

    ``path`` is one of:

    * a csv file with the columns ``class`` and ``split``, and ``filename`` if it lists images;
    * a json file ``{"train": [...], "val": [...], "test": [...]}`` of class names;
    * a folder with one file a split, named ``train``, ``val`` or ``test`` and ``.txt`` (a class a line) or
      ``.csv`` (columns ``filename,label`` or ``class_name,image_name``, or ``class`` alone).

    Also understood: ``valid`` and ``validation`` for val, ``base`` and ``novel`` for train and test.
    ``group_column`` of a csv file names the group of an image. Messages call ``path`` by the user's ``key``.

    Raises:
        FileNotFoundError: ``path`` does not exist, or a split has no file.
        ValueError: a file cannot be read as above, or names no classes.
    """
    place, given = Path(path).expanduser(), f"`data.init_args.{key}={path}`"
    if place.is_dir():
        files = _split_files(place, given)
        return [row for split, file in files.items() for row in _read(file, split, group_column)]
    if not place.is_file():
        raise FileNotFoundError(
            f"{given} does not exist; give a csv file class,split, a json file, a folder with train.txt, "
            "val.txt and test.txt, or `seeded`."
        )
    if place.suffix.lower() not in (".csv", ".json"):
        raise ValueError(
            f"{given} must end in .csv or .json, or be a folder with train.txt, val.txt and test.txt."
        )
    return _read(place, None, group_column)


def _split_files(folder: Path, given: str) -> dict[str, Path]:
    """Return the file of each split in a folder of lists; messages call it as it was ``given``."""
    files: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        split = SPLIT_NAMES.get(file.stem.lower())
        if split is None or file.suffix.lower() not in (".txt", ".csv"):
            continue
        if (other := files.setdefault(split, file)) is not file:
            both = f"{other.name} and {file.name}"
            raise ValueError(f"{given} holds {both} for split '{split}'; keep one of them.")
    if missing := [split for split in SPLITS if split not in files]:
        raise FileNotFoundError(
            f"{given} has no list for {' and '.join(missing)}; it needs train.txt, val.txt and test.txt with "
            "a class a line, or the same as .csv with the columns filename,label."
        )
    return {split: files[split] for split in SPLITS}


def _read(file: Path, split: str | None, group_column: str | None) -> list[ListedRow]:
    """Return the rows of one file; ``split`` is None if the file itself says it."""
    kind = file.suffix.lower()
    if group_column is not None and kind != ".csv":
        raise ValueError(f"`data.init_args.groups.column={group_column}` needs csv lists, not `{file}`.")
    try:
        text = file.read_bytes().decode("utf-8-sig")
        if kind == ".csv":
            rows = list(_csv(file, text, split, group_column))
        elif kind == ".json":
            rows = list(_json(file, text))
        else:
            rows = [ListedRow(line.strip(), split or "") for line in text.splitlines() if line.strip()]
    except (UnicodeDecodeError, csv.Error, json.JSONDecodeError) as error:
        raise ValueError(f"`{file}` cannot be read as {kind[1:]} in UTF-8 ({error}).") from error
    if not rows:
        raise ValueError(f"`{file}` names no classes; a split needs at least 2.")
    return rows


def _csv(file: Path, text: str, split: str | None, group_column: str | None) -> Iterator[ListedRow]:
    lines = csv.reader(io.StringIO(text, newline=""))
    header = [name.strip().lower() for name in next(lines, [])]
    image = next((name for name in _IMAGE_COLUMNS if name in header), "")
    label = next((name for name in _CLASS_COLUMNS if name in header), "")
    if not label or (split is None and "split" not in header):
        wanted = "class,split" if split is None else "filename,label"
        raise ValueError(f"`{file}` has the columns {header}; line 1 must be {wanted}.")
    group = (group_column or "").strip().lower()
    if group_column is not None and group not in header:
        raise ValueError(
            f"`data.init_args.groups.column={group_column}` is no column of `{file}`, which has {header}."
        )
    for cells in lines:
        if not any(cells):
            continue
        # without the column of row numbers that other tools write under an empty name
        row = {name: cell.strip() for name, cell in zip(header, cells, strict=False) if name}
        name, path, own = row.get(label, ""), row.get(image, ""), row.get("split", "").lower()
        place = split or SPLIT_NAMES.get(own)
        if not name or not place or (image and not path):
            needs = ("an image, " if image else "") + "a class"
            needs += "" if split else f" and one of {', '.join(SPLITS)}"
            raise ValueError(f"line {lines.line_num} of `{file}` is {','.join(cells)}; it needs {needs}.")
        path = f"{name}/{path}" if image == _IN_CLASS else path  # 1.jpg of every class is another image
        yield ListedRow(name, place, path, row.get(group) or None)


def _json(file: Path, text: str) -> Iterator[ListedRow]:
    content = json.loads(text)
    if not isinstance(content, Mapping) or not set(content) <= set(SPLIT_NAMES):
        raise ValueError(
            f'`{file}` must be {{"train": [...], "val": [...], "test": [...]}} with class names.'
        )
    for split, names in content.items():
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"`{file}` must hold a list of class names for each split.")
        yield from (ListedRow(name, SPLIT_NAMES[split]) for name in names)


def assign_splits(names: Collection[str], splits: str, seed: int, data_set: str) -> dict[str, str]:
    """Return the split of each class of a data set that brings none of its own.

    ``splits`` is the path of lists, see `read_rows`; classes that these leave out have no split. Or it is
    ``"seeded"``: classes are divided 64:16:20, whatever the order of ``names``. They are ranked by a hash of
    seed and name, so another class moves few others. Sizes are the shares by largest remainder; a split gets
    at least two classes.
    """
    if splits == SEEDED:
        return _divide(sorted(set(names)), seed, data_set)
    rows, given = read_rows(splits), f"`data.init_args.splits={splits}`"
    spelled = {_composed(name): name for name in names}
    spelled |= {name: name for name in names}  # as written goes before otherwise spelled
    found = {name: spelled.get(name, spelled.get(_composed(name))) for name, *_ in rows}
    if missing := [name for name, match in found.items() if match is None]:
        close = difflib.get_close_matches(missing[0], list(names), 1)
        raise ValueError(
            f"{len(missing)} of {len(found)} classes that {given} lists are not in {data_set}, first: "
            f"`{missing[0]}`{f', similar: `{close[0]}`' if close else ''}; write the names as the data set "
            "has them, or take them out of the lists."
        )
    split_of: dict[str, str] = {}
    for row in rows:
        name = found[row.class_name] or ""
        if (other := split_of.setdefault(name, row.split)) != row.split:
            raise ValueError(
                f"class `{name}` is in split '{other}' and in split '{row.split}' of {given}; a class "
                "belongs to one split: take it out of the other."
            )
    if empty := [split for split in SPLITS if split not in split_of.values()]:
        law = f"every split needs at least {_LEAST}"
        raise ValueError(f"{given} has no classes for {' and '.join(empty)}; {law}.")
    return split_of


def _divide(names: list[str], seed: int, data_set: str) -> dict[str, str]:
    count, folder = len(names), data_set.strip("`").partition("root=")[2] or "FOLDER"
    if count < _LEAST * len(SPLITS):
        raise ValueError(
            f"{count} classes cannot be divided into {', '.join(SPLITS)}: each needs {_LEAST}, "
            f"{_LEAST * len(SPLITS)} in all. Add classes, or tell those that you have apart on a frozen "
            f"encoder: `psst adapt {folder} --encoder efficientnet-lite0`."
        )
    sizes, whole = dict.fromkeys(SPLITS, _LEAST), sum(_SHARES.values())
    while sum(sizes.values()) < count:  # the next class goes to the split that lacks most of its share
        sizes[max(SPLITS, key=lambda split: count * _SHARES[split] - whole * sizes[split])] += 1

    def rank(name: str) -> tuple[bytes, str]:
        text = f"{seed}/{_composed(name)}".encode("utf-8", "surrogateescape")
        return hashlib.blake2b(text, digest_size=16).digest(), name

    splits = (split for split in SPLITS for _ in range(sizes[split]))
    return dict(sorted(zip(sorted(names, key=rank), splits, strict=True)))


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)
