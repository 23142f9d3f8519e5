"""Which class or image trains, validates or tests: read from the user's lists, or drawn by a seed."""

import csv
import difflib
import hashlib
import io
import json
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from psst.images.source import SPLITS

SEEDED = "seeded"
SPLIT_NAMES: Mapping[str, str] = {
    **dict.fromkeys(("train", "training", "base"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing", "novel"), "test"),
}
"""What files, folders and csv columns call the three splits, in small letters."""

_CLASS_COLUMNS = ("class", "class_name", "label")
_IMAGE_COLUMNS = ("filename", "image_name", "image", "file", "path")
_IN_CLASS = "image_name"  # easyfsl's column: names are unique within a class only
_SHARES = {"train": 16, "val": 4, "test": 5}  # of 25 classes
_LEAST = 2  # an episode tells two classes apart


class ListedRow(NamedTuple):
    """What a list says of a class, or of one image.

    Attributes:
        class_name: the class.
        split: one of ``SPLITS``.
        image: path of the image as written there; "" in a list of classes.
        group: what is in the column of groups; None without.
    """

    class_name: str
    split: str
    image: str = ""
    group: str | None = None


def read_lists(path: str | Path) -> dict[str, str]:
    """Read which classes train, validate and test, from any of the lists of `read_rows`.

    Returns:
        The split of each class, by name. A class that easyfsl's file gives by a path keeps that path.

    Raises:
        FileNotFoundError: ``path`` does not exist, or a split has no file.
        ValueError: a file cannot be read, names no classes, or a class is in two splits.
    """
    return _join(((row.class_name, row.split) for row in read_rows(path)), path)


def read_rows(path: str | Path, group_column: str | None = None, key: str = "splits") -> list[ListedRow]:
    """Read lists of classes or of images.

    ``path`` is one of:

    * a csv file with the columns ``class`` and ``split``, and ``filename`` if it lists images;
    * a json file ``{"train": [...], "val": [...], "test": [...]}`` of class names;
    * a folder with one file a split, named ``train``, ``val`` or ``test`` and ``.txt`` (a class a line),
      ``.csv`` (columns ``filename,label`` or ``class_name,image_name``, or ``class`` alone) or ``.json`` (a
      list of classes, easyfsl's ``class_names`` and ``class_roots``, or CloserLook's ``label_names``,
      ``image_names`` and ``image_labels``).

    Also understood: ``valid`` and ``validation`` for val, ``base`` and ``novel`` for train and test.

    Args:
        path: of the lists.
        group_column: csv column that names the group of an image.
        key: what the user calls ``path``, below ``data.init_args``.

    Raises:
        FileNotFoundError: ``path`` does not exist, or a split has no file.
        ValueError: a file cannot be read as above, or names no classes.
    """
    place = Path(path).expanduser()
    if place.is_dir():
        files = _split_files(place, key)
        return [row for split, file in files.items() for row in _read(file, split, group_column)]
    if not place.is_file():
        raise FileNotFoundError(
            f"`data.init_args.{key}={path}` does not exist; give a csv file class,split, a json file, a "
            "folder with train.txt, val.txt and test.txt, or `seeded`."
        )
    if place.suffix.lower() not in (".csv", ".json"):
        raise ValueError(
            f"`data.init_args.{key}={path}` must end in .csv or .json, or be a folder with "
            "train.txt, val.txt and test.txt."
        )
    return _read(place, None, group_column)


def assign_splits(names: Collection[str], splits: str, seed: int, data_set: str) -> dict[str, str]:
    """Return the split of each class of a data set that brings none of its own.

    Args:
        names: its classes.
        splits: ``"seeded"``, or the path of the user's lists.
        seed: of the division, for ``"seeded"``.
        data_set: its name, for messages.

    Returns:
        The split of each class; classes that the user's lists leave out are not in it.

    Raises:
        FileNotFoundError: the lists are not there.
        ValueError: too few classes, lists that cannot be read, or a listed class that the data set lacks.
    """
    if splits == SEEDED:
        return split_classes(names, seed)
    listed = read_lists(splits)
    found = {name: _match(name, names) for name in listed}
    missing = [name for name, match in found.items() if match is None]
    if missing:
        close = difflib.get_close_matches(missing[0], list(names), 1)
        raise ValueError(
            f"{len(missing)} of {len(listed)} classes that `data.init_args.splits={splits}` lists are not in "
            f"{data_set}, first: `{missing[0]}`"
            + (f", similar: `{close[0]}`" if close else "")
            + "; write the names as the data set has them, or take them out of the lists."
        )
    return _join(((found[name] or name, split) for name, split in listed.items()), splits)


def split_classes(names: Iterable[str], seed: int) -> dict[str, str]:
    """Divide classes 64:16:20 among train, val and test; the order of ``names`` and repeats do not matter.

    Classes are ranked by a hash of seed and name, so another class moves few others. Sizes are the shares by
    largest remainder; a split gets at least two classes.

    Returns:
        The split of each class, by name.

    Raises:
        ValueError: too few classes.
    """
    unique = sorted(set(names))
    sizes = _sizes(len(unique))
    ranked = sorted(unique, key=lambda name: (_rank(name, seed), name))
    splits = [split for split in SPLITS for _ in range(sizes[split])]
    return dict(sorted(zip(ranked, splits, strict=True)))


def _rank(name: str, seed: int) -> bytes:
    text = f"{seed}/{unicodedata.normalize('NFC', name)}"
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).digest()


def _sizes(count: int) -> dict[str, int]:
    """Return how many of ``count`` classes each split gets."""
    if count < _LEAST * len(SPLITS):
        raise ValueError(
            f"{count} classes cannot be divided into {', '.join(SPLITS)}: each needs {_LEAST}, "
            f"{_LEAST * len(SPLITS)} in all. Add classes, or classify new images with a trained encoder: "
            "`psst adapt DIR --encoder PATH`."
        )
    whole = sum(_SHARES.values())
    sizes = {split: count * _SHARES[split] // whole for split in SPLITS}
    by_remainder = sorted(SPLITS, key=lambda split: -(count * _SHARES[split] % whole))
    for split in by_remainder[: count - sum(sizes.values())]:
        sizes[split] += 1
    while min(sizes.values()) < _LEAST:  # of few classes: the largest split gives to the smallest
        sizes[max(SPLITS, key=lambda split: sizes[split])] -= 1
        sizes[min(SPLITS, key=lambda split: sizes[split])] += 1
    return sizes


def _join(pairs: Iterable[tuple[str, str]], path: str | Path) -> dict[str, str]:
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
            f"at least {_LEAST}."
        )
    return split_of


def _match(name: str, names: Collection[str]) -> str | None:
    """Return which of ``names`` ``name`` means: itself, spelled alike in Unicode, or the end of a path."""
    if name in names:
        return name
    spelled = {unicodedata.normalize("NFC", other): other for other in names}
    parts = unicodedata.normalize("NFC", name).replace("\\", "/").strip("/").split("/")
    tails = ("/".join(parts[start:]) for start in range(len(parts)))
    return next((spelled[tail] for tail in tails if tail in spelled), None)


def _split_files(folder: Path, key: str) -> dict[str, Path]:
    """Return the file of each split in a folder of lists."""
    files: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        split = SPLIT_NAMES.get(file.stem.lower())
        if split is None or file.suffix.lower() not in _READERS:
            continue
        if split in files:
            raise ValueError(
                f"`data.init_args.{key}={folder}` holds {files[split].name} and {file.name} for split "
                f"'{split}'; keep one of them."
            )
        files[split] = file
    missing = [split for split in SPLITS if split not in files]
    if missing:
        raise FileNotFoundError(
            f"`data.init_args.{key}={folder}` has no list for {' and '.join(missing)}; it needs train.txt, "
            "val.txt and test.txt with a class a line, or the same as .csv with the columns filename,label, "
            "or as .json."
        )
    return {split: files[split] for split in SPLITS}


def _read(file: Path, split: str | None, group_column: str | None) -> list[ListedRow]:
    """Return the rows of one file; ``split`` is None if the file itself says it."""
    kind = file.suffix.lower()
    if group_column is not None and kind != ".csv":
        raise ValueError(f"`data.init_args.groups.column={group_column}` needs csv lists, not `{file}`.")
    try:
        rows = list(_READERS[kind](file, file.read_bytes().decode("utf-8-sig"), split, group_column))
    except (UnicodeDecodeError, csv.Error, json.JSONDecodeError) as error:
        raise ValueError(f"`{file}` cannot be read as {kind[1:]} in UTF-8 ({error}).") from error
    if not rows:
        raise ValueError(f"`{file}` names no classes; a split needs at least {_LEAST}.")
    return rows


def _txt(file: Path, text: str, split: str | None, group_column: str | None) -> Iterator[ListedRow]:
    for line in text.splitlines():
        if line.strip():
            yield ListedRow(line.strip(), split or "")


def _csv(file: Path, text: str, split: str | None, group_column: str | None) -> Iterator[ListedRow]:
    lines = csv.reader(io.StringIO(text, newline=""))
    header = [name.strip().lower() for name in next(lines, [])]
    image = next((name for name in _IMAGE_COLUMNS if name in header), None)
    label = next((name for name in _CLASS_COLUMNS if name in header), None)
    if label is None or (split is None and "split" not in header):
        wanted = "class,split" if split is None else "filename,label"
        raise ValueError(f"`{file}` has the columns {header}; line 1 must be {wanted}.")
    group = group_column and group_column.strip().lower()
    if group is not None and group not in header:
        raise ValueError(
            f"`data.init_args.groups.column={group_column}` is no column of `{file}`, which has {header}."
        )
    for cells in lines:
        if not any(cells):
            continue
        row = dict(zip(header, (cell.strip() for cell in cells), strict=False))
        name, path, own = row.get(label, ""), row.get(image or "", ""), row.get("split", "").lower()
        place = split or SPLIT_NAMES.get(own)
        if not name or not place or (image and not path):
            needs = "an image, a class" if image else "a class"
            raise ValueError(
                f"line {lines.line_num} of `{file}` is {','.join(cells)}; it needs {needs}"
                + ("." if split else f" and one of {', '.join(SPLITS)}.")
            )
        path = f"{name}/{path}" if image == _IN_CLASS else path
        yield ListedRow(name, place, path, row.get(group or "") or None)


def _json(file: Path, text: str, split: str | None, group_column: str | None) -> Iterator[ListedRow]:
    content = json.loads(text)
    if split is None:
        if not isinstance(content, Mapping) or not set(content) <= set(SPLIT_NAMES):
            raise ValueError(
                f'`{file}` must be {{"train": [...], "val": [...], "test": [...]}} with class names.'
            )
        for of, names in content.items():
            yield from (ListedRow(name, SPLIT_NAMES[of]) for name in _strings(names, file))
    elif isinstance(content, Mapping) and "label_names" in content:
        yield from _closer_look(content, file, split)
    else:
        if isinstance(content, Mapping):  # easyfsl's
            content = content.get("class_roots") or content.get("class_names")
        yield from (ListedRow(name, split) for name in _strings(content, file))


def _closer_look(content: Mapping[str, Any], file: Path, split: str) -> Iterator[ListedRow]:
    """Yield the images of one file; it names the classes of all splits, and uses some."""
    try:
        labels = [str(content["label_names"][int(label)]) for label in content["image_labels"]]
        for path, label in zip(content.get("image_names", [""] * len(labels)), labels, strict=True):
            yield ListedRow(label, split, str(path))
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ValueError(
            f"`{file}` must have as many image_labels as image_names, each a position in label_names "
            f"({error})."
        ) from error


def _strings(content: Any, file: Path) -> list[str]:
    if not isinstance(content, list) or not all(isinstance(name, str) for name in content):
        raise ValueError(
            f"`{file}` must hold a list of class names, itself or under class_names, or label_names, "
            "image_names and image_labels."
        )
    return content


_READERS: dict[str, Callable[[Path, str, str | None, str | None], Iterator[ListedRow]]] = {
    ".txt": _txt,
    ".csv": _csv,
    ".json": _json,
}
