"""The files of CUB-200-2011: where they lie, and what its tables say."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from psst.images.files.archives import Entry, folder_entries, tar_entries
from psst.images.files.download import RemoteFile

Box = tuple[float, float, float, float]  # x, y, width, height in pixels

ARCHIVE = RemoteFile(
    "CUB_200_2011.tgz",
    (
        "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",
        "https://zenodo.org/records/8000562/files/CUB_200_2011.tgz",
    ),
    "md5:97eceeb196236b17998738112f37df78",
    1_150_585_339,
)
MANUAL = "https://data.caltech.edu/records/65de6-vp158 offers CUB_200_2011.tgz; it is read as it is."
AGAIN = "extract CUB_200_2011.tgz again, or leave it as it is: archives are read in place."

IMAGES, CLASSES, LABELS, BOXES = (
    "images.txt",
    "classes.txt",
    "image_class_labels.txt",
    "bounding_boxes.txt",
)
_FOLDER = "CUB_200_2011"
_ARCHIVES = (".tgz", ".tar.gz", ".tar")
_NO_BOX = (0.0, 0.0, 0.0, 0.0)


def cub_entries(root: Path) -> dict[str, Entry]:
    """Index the files by their paths below the folder CUB_200_2011.

    Raises:
        FileNotFoundError: neither the folder nor the archive lies in ``root``.
        ValueError: the archive is damaged.
    """
    folder = extracted(root)
    if folder is not None:
        return {entry.name: entry for entry in folder_entries(folder, (".txt", ".jpg"))}
    path = archive(root)
    if path is None:
        raise FileNotFoundError(
            f"`data.init_args.root={root}` holds neither CUB_200_2011 with {IMAGES}, {CLASSES} and {LABELS} "
            f"nor CUB_200_2011.tgz. {MANUAL}"
        )
    entries = {entry.name.removeprefix("./"): entry for entry in tar_entries(path)}
    if f"{_FOLDER}/{IMAGES}" not in entries:
        raise FileNotFoundError(f"`{path}` holds no {_FOLDER}/{IMAGES}; {AGAIN}")
    return {name.removeprefix(f"{_FOLDER}/"): entry for name, entry in entries.items()}


def extracted(root: Path) -> Path | None:
    """Return the folder CUB_200_2011, which is ``root`` or lies in it; None if it is not there."""
    for folder in (root, root / _FOLDER):
        if all((folder / name).is_file() for name in (IMAGES, CLASSES, LABELS)):
            return folder
    return None


def archive(root: Path) -> Path | None:
    """Return the archive in ``root``, by its name; None if it is not there."""
    paths = (root / f"{_FOLDER}{suffix}" for suffix in _ARCHIVES)
    return next((path for path in paths if path.is_file()), None)


def table(entries: Mapping[str, Entry], name: str, columns: int) -> Iterator[list[str]]:
    """Yield the lines of a text file as lists of words.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no text, or a line has not ``columns`` words.
    """
    entry = entries.get(name)
    if entry is None:
        raise FileNotFoundError(f"{name} of CUB-200-2011 is missing; {AGAIN}")
    try:
        lines = entry.read().decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"`{entry}` is not a text file in UTF-8 ({error}); {AGAIN}") from error
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if len(words) != columns:
            raise ValueError(f"line {number} of `{entry}` has {len(words)} words, not {columns}; {AGAIN}")
        yield words


def boxes(entries: Mapping[str, Entry]) -> dict[str, Box]:
    """Return the box of each image by the image's number.

    Raises:
        FileNotFoundError: there is no table of them.
        ValueError: one is not four numbers, or smaller than a pixel.
    """
    found = {}
    for image, *words in table(entries, BOXES, 5):
        try:
            x, y, width, height = map(float, words)
        except ValueError:
            x, y, width, height = _NO_BOX
        if not (width >= 1 and height >= 1):
            raise ValueError(f"image {image} of `{entries[BOXES]}` has the box {' '.join(words)}; {AGAIN}")
        found[image] = (x, y, width, height)
    return found
