"""What lies below a path, told by looking into it: the answer of `psst data info PATH`."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from psst.images.files.content import is_web_page
from psst.images.sources.layout import Layout
from psst.images.store import META

_LAYOUTS = {  # data set -> module and name of its layouts, the more telling ones first
    "Omniglot": ("omniglot", "LAYOUTS"),
    "CUB": ("cub", "LAYOUTS"),
    "TieredImageNet": ("tiered", "LAYOUTS"),
    "CifarFS": ("cifar", "CIFAR_FS_LAYOUTS"),
    "FC100": ("cifar", "FC100_LAYOUTS"),
    "MiniImageNet": ("mini_imagenet", "LAYOUTS"),
    "ImageFolder": ("folder", "LAYOUTS"),
}
_LISTED = 8
_OPENINGS = {
    b"PK\x03\x04": "a zip archive (or NumPy's npz)",
    b"\x1f\x8b": "a gzip file, such as a compressed tar archive",
    b"BZh": "a bzip2 file, such as a compressed tar archive",
    b"\xfd7zXZ": "an xz file, such as a compressed tar archive",
    b"\x93NUMPY": "a NumPy array",
    b"\x80": "a pickle",
    b"\xff\xd8\xff": "a JPEG image",
    b"\x89PNG": "a PNG image",
}


def is_store(path: Path) -> bool:
    """Whether ``path`` is the folder of a store."""
    return (path / META).is_file()


def recognize(path: str | Path) -> str:
    """Say which data sets the content of ``path`` may be read as, one line each, the best first.

    Raises:
        FileNotFoundError: there is nothing at ``path``.
    """
    place = Path(path).expanduser()
    if not place.exists():
        raise FileNotFoundError(f"`{path}` does not exist; give the folder of a data set or of a store.")
    if not place.is_dir():
        return f"{path} is {_file(place)}; data sets are read from the folder that holds their files."
    seen = [f"{data_set:<15} {text}" for data_set, text in _matches(place)]
    if seen:
        return "\n".join([f"{path} can be read by psst.datamodules as", *(f"  {line}" for line in seen)])
    found = sorted(entry.name + "/" * entry.is_dir() for entry in place.iterdir())
    more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    what = f"it holds {', '.join(found[:_LISTED])}{more}" if found else "it is empty"
    return (
        f"{path} is in no layout that psst knows: {what}.\n"
        "Your own images: one folder a class, or train/, val/ and test/ with one folder a class in each."
    )


def _matches(place: Path) -> Iterator[tuple[str, str]]:
    for data_set, (module, name) in _LAYOUTS.items():
        layouts: tuple[Layout, ...] = getattr(import_module(f"psst.images.sources.{module}"), name)
        text = next((text for layout in layouts if (text := layout.sees(place)) is not None), None)
        if text is not None:
            yield data_set, text


def _file(path: Path) -> str:
    with path.open("rb") as file:
        opening = file.read(512)
    for start, text in _OPENINGS.items():
        if opening.startswith(start):
            return text
    if opening[257:262] == b"ustar":
        return "a tar archive"
    if is_web_page(opening):
        return "a web page (a download that went wrong leaves one)"
    return f"a file of {path.stat().st_size:,} bytes"
