"""Layouts of folders of classes whose splits are published."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from psst.images.sources.class_folders import sees_classes, sees_splits
from psst.images.sources.folder import FolderSource
from psst.images.sources.layout import Layout


def published_layouts(
    name: str, split_of: Mapping[str, str], expects: str, archives: Sequence[str] = ()
) -> tuple[Layout, Layout]:
    """Return two layouts of folders of classes: divided as published, and not divided.

    Args:
        name: of the data set.
        split_of: the published split of each class.
        expects: what the second layout looks like, in words.
        archives: names of zip archives that may hold the folders of the second.
    """

    def sees(root: Path) -> str | None:
        archive = next((name for name in archives if (root / name).is_file()), None)
        return archive or sees_classes(root, split_of)

    return (
        Layout(
            "train/, val/ and test/ with a folder a class, as published",
            partial(sees_splits, split_of=split_of),
            partial(FolderSource, name=name),
        ),
        Layout(expects, sees, partial(FolderSource, name=name, splits=split_of)),
    )
