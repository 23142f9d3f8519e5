"""What lies below a path, told by looking into it: the answer of `psst data info PATH`."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from psst import datamodules
from psst.images.files.content import kind_of
from psst.images.sources.layout import Layout
from psst.images.store import META

_LAYOUTS = {  # data set -> module of its layouts, the more telling ones first; "": the data set's own
    "Omniglot": "omniglot",
    "CUB": "cub",
    "TieredImageNet": "",
    "CifarFS": "",
    "FC100": "",
    "MiniImageNet": "",
    "ImageFolder": "folder",
}
_LISTED = 8


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
    for data_set, module in _LAYOUTS.items():
        layouts: tuple[Layout, ...] = (
            import_module(f"psst.images.sources.{module}").LAYOUTS
            if module
            else getattr(datamodules, data_set).layouts
        )
        text = next((text for layout in layouts if (text := layout.sees(place)) is not None), None)
        if text is not None:
            yield data_set, text


def _file(path: Path) -> str:
    with path.open("rb") as file:
        return kind_of(file.read(512)) or f"a file of {path.stat().st_size:,} bytes"
