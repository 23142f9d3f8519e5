"""Files that say which classes train, validate and test."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from psst.images.source import SPLITS

SPLIT_NAMES: Mapping[str, str] = {
    "train": "train",
    "training": "train",
    "base": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
    "novel": "test",
}
"""What files, folders and csv columns call the three splits, in small letters."""

CLASS_COLUMNS = ("class", "class_name", "label")
"""What a csv file calls its column of classes."""


def read_lists(path: str | Path) -> dict[str, str]:
    """Read which classes train, validate and test.

    ``path`` is one of:

    * a csv file with a column ``class`` and a column ``split``;
    * a json file ``{"train": [...], "val": [...], "test": [...]}`` of class names;
    * a folder with one file a split, named ``train``, ``val`` or ``test`` and ``.txt`` (a class a line),
      ``.csv`` (columns ``filename,label`` or ``class_name,image_name``) or ``.json`` (a list of classes,
      easyfsl's ``class_names`` and ``class_roots``, or CloserLook's ``label_names`` and ``image_labels``).

    Also understood: ``valid`` and ``validation`` for val, ``base`` and ``novel`` for train and test. A class
    that easyfsl's file gives by a path keeps that path.

    Returns:
        The split of each class, by name.

    Raises:
        FileNotFoundError: ``path`` does not exist, or a split has no file.
        ValueError: a file cannot be read as above, names no classes, or a class is in two splits.
    """
    place = Path(path).expanduser()
    pairs: Iterable[tuple[str, str]]
    if place.is_dir():
        pairs = ((name, split) for split, file in split_files(place).items() for name in _classes(file))
    elif not place.is_file():
        raise FileNotFoundError(
            f"`data.init_args.splits={path}` does not exist; give a csv file class,split, a json file, a "
            "folder with train.txt, val.txt and test.txt, or `seeded`."
        )
    elif place.suffix.lower() == ".csv":
        pairs = _csv_pairs(place)
    elif place.suffix.lower() == ".json":
        pairs = _json_pairs(place)
    else:
        raise ValueError(
            f"`data.init_args.splits={path}` must end in .csv or .json, or be a folder with "
            "train.txt, val.txt and test.txt."
        )
    return join_lists(pairs, path)


def split_files(folder: Path) -> dict[str, Path]:
    """Return the file of each split in a folder of lists.

    Raises:
        FileNotFoundError: a split has none.
        ValueError: a split has two.
    """
    files: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        split = SPLIT_NAMES.get(file.stem.lower())
        if split is None or file.suffix.lower() not in _READERS:
            continue
        if split in files:
            raise ValueError(
                f"`data.init_args.splits={folder}` holds {files[split].name} and {file.name} for split "
                f"'{split}'; keep one of them."
            )
        files[split] = file
    missing = [split for split in SPLITS if split not in files]
    if missing:
        raise FileNotFoundError(
            f"`data.init_args.splits={folder}` has no list for {' and '.join(missing)}; it needs train.txt, "
            "val.txt and test.txt with a class a line, or the same as .csv or .json."
        )
    return {split: files[split] for split in SPLITS}


def _classes(file: Path) -> list[str]:
    """Return the classes that the file of one split names."""
    try:
        names = _READERS[file.suffix.lower()](file)
    except (UnicodeDecodeError, csv.Error, json.JSONDecodeError) as error:
        raise ValueError(f"`{file}` cannot be read as {file.suffix[1:]} in UTF-8 ({error}).") from error
    if not names:
        raise ValueError(f"`{file}` names no classes; a split needs at least 2.")
    return names


def _txt_classes(file: Path) -> list[str]:
    lines = file.read_text(encoding="utf-8-sig").splitlines()
    return [line.strip() for line in lines if line.strip()]


def _csv_classes(file: Path) -> list[str]:
    with file.open(newline="", encoding="utf-8-sig") as lines:
        reader = csv.DictReader(lines)
        column = next((name for name in CLASS_COLUMNS if name in (reader.fieldnames or [])), None)
        if column is None:
            raise ValueError(
                f"`{file}` has the columns {list(reader.fieldnames or [])}; one of them must be called "
                f"{', '.join(CLASS_COLUMNS[:-1])} or {CLASS_COLUMNS[-1]}."
            )
        return list(dict.fromkeys(row[column].strip() for row in reader if row[column]))


def _json_classes(file: Path) -> list[str]:
    content = json.loads(file.read_text(encoding="utf-8-sig"))
    if isinstance(content, Mapping):
        try:
            if "label_names" in content:  # CloserLook names all classes of the data set and uses some
                used = sorted({int(label) for label in content["image_labels"]})
                return [str(content["label_names"][label]) for label in used]
            content = content.get("class_roots") or content["class_names"]
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ValueError(
                f"`{file}` lacks a key or has a label outside its names ({error}); it needs class_names, or "
                "label_names and image_labels."
            ) from error
    return _strings(content, file)


_READERS: dict[str, Callable[[Path], list[str]]] = {
    ".txt": _txt_classes,
    ".csv": _csv_classes,
    ".json": _json_classes,
}


def _strings(content: Any, file: Path) -> list[str]:
    if not isinstance(content, list) or not all(isinstance(name, str) for name in content):
        raise ValueError(f"`{file}` must hold a list of class names.")
    return content


def _csv_pairs(file: Path) -> Iterator[tuple[str, str]]:
    """Yield the lines class,split of one csv file."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            rows = list(csv.reader(lines))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"`{file}` is not a csv file in UTF-8 ({error}).") from error
    header = [name.strip().lower() for name in rows[0]] if rows else []
    column = next((header.index(name) for name in CLASS_COLUMNS if name in header), None)
    if column is None or "split" not in header:
        raise ValueError(f"`{file}` has the columns {header}; line 1 must be class,split.")
    for number, row in enumerate(rows[1:], start=2):
        if not any(row):
            continue
        cells = dict(enumerate(cell.strip() for cell in row))
        name, split = cells.get(column, ""), cells.get(header.index("split"), "").lower()
        if not name or split not in SPLIT_NAMES:
            raise ValueError(
                f"line {number} of `{file}` is {','.join(row)}; it needs a class and one of "
                f"{', '.join(SPLITS)}."
            )
        yield name, SPLIT_NAMES[split]


def _json_pairs(file: Path) -> Iterator[tuple[str, str]]:
    """Yield the classes of one json file with a key a split."""
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"`{file}` is not a json file in UTF-8 ({error}).") from error
    if not isinstance(content, Mapping) or not set(content) <= set(SPLIT_NAMES):
        raise ValueError(
            f'`{file}` must be {{"train": [...], "val": [...], "test": [...]}} with class names.'
        )
    for split, names in content.items():
        yield from ((name, SPLIT_NAMES[split]) for name in _strings(names, file))


def join_lists(pairs: Iterable[tuple[str, str]], path: str | Path) -> dict[str, str]:
    """Return the split of each class; raise ValueError for one in two splits, or a split without any."""
    split_of: dict[str, str] = {}
    for name, split in pairs:
        if split_of.setdefault(name, split) != split:
            raise ValueError(
                f"class `{name}` is in split '{split_of[name]}' and in split '{split}' of "
                f"`data.init_args.splits={path}`; a class belongs to one split: take it out of the other."
            )
    missing = [split for split in SPLITS if split not in split_of.values()]
    if missing:
        raise ValueError(
            f"`data.init_args.splits={path}` has no classes for {' and '.join(missing)}; every split needs "
            f"at least 2."
        )
    return split_of
