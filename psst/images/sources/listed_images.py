"""Where the images that lists name lie."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from psst.images.files.members import printable
from psst.images.source import SPLITS
from psst.images.sources.image_tree import ImageTree, Place, grow
from psst.images.sources.lists import ListedRow, read_rows


def name_images(rows: Sequence[ListedRow]) -> bool:
    """Return whether these are lists of images, not of classes."""
    return bool(rows) and all(row.image for row in rows)


def find_images(rows: Sequence[ListedRow], tree: ImageTree) -> list[Place | None]:
    """Return where each listed image lies in ``tree``, None if it does not.

    A path may be of another machine: its longest end that is a path below the root counts, then one below
    ``images/``, then its folder (or else its class) and name, then its name alone if no other image has it.
    """
    whole: dict[str, Place] = {}
    ends: dict[str, Place | None] = {}
    for place in tree.places(tree.images):
        parts, name = place
        whole[printable("/".join((*parts, name)))] = place
        # Lists of other machines agree with ours in the end of a path only.
        for end in {"/".join((*parts[-1:], name)), name}:
            key = printable(end)
            ends[key] = None if key in ends else place  # None: several images end so
    return [next(_candidates(row, whole, ends), None) for row in rows]


def _candidates(
    row: ListedRow, whole: Mapping[str, Place], ends: Mapping[str, Place | None]
) -> Iterator[Place]:
    path = row.image.replace("\\", "/")
    parts = PurePosixPath(path).parts
    for tail in (*("/".join(parts[start:]) for start in range(len(parts))), f"images/{path}"):
        if tail in whole:
            yield whole[tail]
    for key in ("/".join(parts[-2:]), f"{row.class_name}/{parts[-1]}", parts[-1]):
        if (place := ends.get(key)) is not None:
            yield place


def sees_lists(folder: Path) -> str | None:
    """Describe train.csv, val.csv and test.csv that name images, or what is wrong; see `Layout.sees`."""
    names = [f"{split}.csv" for split in SPLITS if (folder / f"{split}.csv").is_file()]
    if not names:
        return None
    try:
        rows = read_rows(folder, key="root")
    except (OSError, ValueError) as error:
        return f"{', '.join(names)}, but {error}"
    if not name_images(rows):
        return None
    tree = grow(folder, limit=0)  # the names in the folder itself
    places = {"archives": len(tree.archives), "folders": len(tree.folders), "images": len(tree)}
    classes = Counter(split for _, split in {(row.class_name, row.split) for row in rows})
    sizes = ", ".join(f"{split} ({classes[split]})" for split in SPLITS)
    found = " and ".join(f"{count} {noun}" for noun, count in places.items() if count) or "no images"
    return f"csv lists of {len(rows):,} images of the classes of {sizes}; {found}"
