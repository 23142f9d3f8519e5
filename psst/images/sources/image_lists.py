"""Files that say of each image which class and split it belongs to, and where those images lie."""

import csv
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from psst.images.files.members import printable
from psst.images.sources.image_tree import ImageTree, Parts
from psst.images.sources.list_files import CLASS_COLUMNS, SPLIT_NAMES, split_files

_IMAGE_COLUMNS = ("filename", "image_name", "image", "file", "path")
_IN_CLASS = "image_name"  # easyfsl's column: names in the folder of the class
_CLOSER_LOOK = ("label_names", "image_names", "image_labels")


class ListedImage(NamedTuple):
    """A line of a list: the path of an image as written there, its class and its split."""

    path: str
    class_name: str
    split: str


def read_image_lists(path: str | Path) -> list[ListedImage] | None:
    """Read lists that name images; None if ``path`` holds lists of classes, or nothing.

    They are train, val and test as ``.csv`` with a column of images (``filename,label``, or easyfsl's
    ``class_name,image_name``) or as ``.json`` in CloserLook's style; or one csv file with a column ``split``.

    Raises:
        FileNotFoundError: a split has no file.
        ValueError: a line or a key is missing, or an image is listed twice.
    """
    place = Path(path).expanduser()
    if place.is_dir():
        parts = [_read(file, split) for split, file in split_files(place).items()]
    else:
        parts = [_read(place, None)] if place.is_file() else [None]
    images = [image for part in parts if part is not None for image in part]
    if any(part is None for part in parts):
        return None
    twice = [name for name, count in Counter(image.path for image in images).items() if count > 1]
    if twice:
        raise ValueError(
            f"{len(twice)} images are listed more than once in `data.init_args.splits={path}`, first: "
            f"{twice[0]}; an image belongs to one class of one split: remove the extra lines."
        )
    return images


def find_images(
    listed: Iterable[ListedImage], tree: ImageTree
) -> dict[ListedImage, tuple[Parts, str] | None]:
    """Return where each listed image lies in ``tree``, None if it does not.

    A path may be of another machine: its longest end that is a path below the root counts, then its folder
    (or else its class) and name, then its name alone if no other image has it.
    """
    whole: dict[str, tuple[Parts, str]] = {}
    ends: dict[str, tuple[Parts, str] | None] = {}
    for parts, names in tree.images.items():
        for name in names:
            whole[printable("/".join((*parts, name)))] = (parts, name)
            for end in {"/".join((*parts[-1:], name)), name}:
                key = printable(end)
                ends[key] = None if key in ends else (parts, name)  # None: several images end so
    return {image: _find(image, whole, ends) for image in listed}


def _find(
    image: ListedImage, whole: Mapping[str, tuple[Parts, str]], ends: Mapping[str, tuple[Parts, str] | None]
) -> tuple[Parts, str] | None:
    parts = PurePosixPath(image.path.replace("\\", "/")).parts
    tails = ["/".join(parts[start:]) for start in range(len(parts))]
    candidates = [whole.get(tail) for tail in tails]
    for key in ("/".join(parts[-2:]), f"{image.class_name}/{parts[-1]}", parts[-1]):
        candidates.append(ends.get(key))
    return next((place for place in candidates if place is not None), None)


def _read(file: Path, split: str | None) -> list[ListedImage] | None:
    """Return the images of one file, None if it names none; ``split`` is None if a column says it."""
    try:
        if file.suffix.lower() == ".json" and split is not None:
            return _read_json(json.loads(file.read_text(encoding="utf-8-sig")), file, split)
        return _read_csv(file, split) if file.suffix.lower() == ".csv" else None
    except (UnicodeDecodeError, csv.Error, json.JSONDecodeError) as error:
        raise ValueError(f"`{file}` cannot be read as {file.suffix[1:]} in UTF-8 ({error}).") from error


def _read_json(content: Any, file: Path, split: str) -> list[ListedImage] | None:
    if not isinstance(content, Mapping) or not set(_CLOSER_LOOK) <= set(content):
        return None
    labels, paths, numbers = (content[key] for key in _CLOSER_LOOK)
    try:
        return [
            ListedImage(str(path), str(labels[int(number)]), split)
            for path, number in zip(paths, numbers, strict=True)
        ]
    except (IndexError, TypeError, ValueError) as error:
        raise ValueError(
            f"`{file}` must have as many image_labels as image_names, each a position in label_names "
            f"({error})."
        ) from error


def _read_csv(file: Path, split: str | None) -> list[ListedImage] | None:
    with file.open(newline="", encoding="utf-8-sig") as lines:
        reader = csv.DictReader(lines)
        header = reader.fieldnames or []
        image = next((name for name in _IMAGE_COLUMNS if name in header), None)
        label = next((name for name in CLASS_COLUMNS if name in header), None)
        if image is None or label is None or (split is None and "split" not in header):
            return None
        images = []
        for number, row in enumerate(reader, start=2):
            place = split or SPLIT_NAMES.get((row["split"] or "").strip().lower(), "")
            if not (row[image] and row[label] and place):
                raise ValueError(
                    f"line {number} of `{file}` lacks an image, a class or a split; complete or remove it."
                )
            path = f"{row[label]}/{row[image]}" if image == _IN_CLASS else row[image]
            images.append(ListedImage(path, row[label], place))
        return images
