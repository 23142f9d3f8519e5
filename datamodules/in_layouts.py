"""A data set that is handed around in several layouts below one folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from psst.datamodules.episodic import EpisodicDataModule
from psst.images import Source
from psst.images.sources.layout import Layout


class InLayouts(EpisodicDataModule):
    """What the folder `root` holds decides how it is read; the rest as of `EpisodicDataModule`."""

    title: str  # of the data set, for messages
    published: Mapping[str, str] = {}  # class -> split, where that is known
    layouts: tuple[Layout, ...]  # in order of preference

    def __init__(self, root: str, size: int = 84, **shared: Any) -> None:
        super().__init__(size=size, **shared)
        self.root = root

    def source(self) -> Source:
        """Return the images below `root`, in the layout that they have."""
        return Layout.choose(self.root, self.layouts, self.title).source(Path(self.root).expanduser())
