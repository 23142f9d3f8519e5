"""Published facts about data sets, mostly which class trains, validates or tests; kept in ``splits/``."""

from collections.abc import Mapping, Sequence
from functools import partial
from importlib.resources import files
from pathlib import Path

from psst.images.sources.folder import FolderSource
from psst.images.sources.folder_looks import class_folders, split_folders
from psst.images.sources.layout import Layout
from psst.images.sources.listed_images import ListedImages


def published_rows(name: str) -> list[list[str]]:
    """Return the words of each line of ``splits/<name>``; lines that begin with # say where it is from."""
    text = (files("psst.images.sources") / "splits" / name).read_text(encoding="utf-8")
    return [line.split() for line in text.splitlines() if line and not line.startswith("#")]


def published_layouts(
    name: str, split_of: Mapping[str, str], expects: str, archives: Sequence[str] = ()
) -> tuple[Layout, Layout]:
    """Return two layouts of folders of classes whose splits are published: with the splits, and without.

    Args:
        name: of the data set.
        split_of: the published split of each class.
        expects: what the second layout looks like, in words.
        archives: names of zip archives that may hold the folders of the second.
    """

    def sees(root: Path) -> str | None:
        archive = next((name for name in archives if (root / name).is_file()), None)
        return archive or class_folders(root, split_of)

    return (
        Layout(
            "train/, val/ and test/ with a folder a class, as published",
            partial(split_folders, split_of=split_of),
            partial(FolderSource, name=name),
        ),
        Layout(expects, sees, partial(ListedImages, name=name, split_of=split_of, archives=archives)),
    )
