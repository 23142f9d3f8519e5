"""Quick looks at folders of class folders: names of folders only, however many images lie in them."""

from collections.abc import Collection, Mapping
from pathlib import Path

from psst.images.source import SPLITS
from psst.images.sources.list_files import SPLIT_NAMES

_FOLDERS = 20_000  # that a look takes in


def split_folders(folder: Path, split_of: Mapping[str, str]) -> str | None:
    """Say how many class folders lie in train/, val/ and test/; None if one of the three lacks any.

    The three may lie below another folder. Nine tenths of the class folders must be in their published
    split, so that the folders of one benchmark are not taken for another. See `Layout.sees`.
    """
    for place in (folder, *_inside(folder)):
        classes = {
            SPLIT_NAMES[path.name.lower()]: [inner.name for inner in _inside(path)]
            for path in _inside(place)
            if path.name.lower() in SPLIT_NAMES
        }
        found = [(name, split) for split in SPLITS for name in classes.get(split, [])]
        agree = sum(split_of.get(name) == split for name, split in found)
        if all(classes.get(split) for split in SPLITS) and 10 * agree >= 9 * len(found):
            sizes = ", ".join(f"{split} ({len(classes[split])})" for split in SPLITS)
            return f"class folders in {sizes}"
    return None


def class_folders(folder: Path, names: Collection[str]) -> str | None:
    """Say how many of the classes ``names`` have a folder, at any depth; None for less than half of them."""
    found: set[str] = set()
    waiting, seen = [folder], 0
    while waiting and seen < _FOLDERS:
        inside = _inside(waiting.pop())
        seen += len(inside)
        found.update(path.name for path in inside if path.name in names)
        waiting += [path for path in inside if path.name not in names]
    return f"folders of {len(found)} of the {len(names)} classes" if 2 * len(found) >= len(names) else None


def _inside(folder: Path) -> list[Path]:
    """Return the folders in a folder; none if it may not be read."""
    try:
        return [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.is_symlink()]
    except OSError:
        return []
