"""Data sets of learn2learn, and others that give ``(image, label)``."""

from collections.abc import Mapping
from typing import Any

from psst.datamodules.episodic import EpisodicDataModule
from psst.episodes.checks import check_channels
from psst.images import Source
from psst.images.sources.learn2learn_data import Learn2LearnSource
from psst.images.sources.lists import SEEDED
from psst.images.sources.made_data_sets import MadeDataSets


class Learn2Learn(EpisodicDataModule):
    """Any data set in learn2learn's manner; its images are stored once, and learn2learn is not needed after.

    By class path, as in a YAML::

        class_path: psst.datamodules.Learn2Learn
        init_args:
          data_set: learn2learn.vision.datasets.CIFARFS
          init_args: {root: data}
          modes: {train: train, val: validation, test: test}

    or from Python, with data sets, MetaDatasets or Tasksets as they are::

        Learn2Learn({"train": train, "validation": validation, "test": test}, size=84)

    Images may be Pillow's, or arrays or tensors of uint8, or of floats up to 1 or up to 255, channels first
    or last. A transform that normalizes, or draws at random, does not belong here: PSST has its own.

    The store is known by the class path and its arguments: when files below its root have changed, delete the
    store. Of data sets given as objects, all labels and some images are looked at.

    Args:
        data_set: a class path, a data set of each split, or one data set whose classes are divided.
        init_args: for the class of a class path.
        modes: the ``mode`` of that class for each split; by default as above, if it has one.
        splits: of a single data set: "seeded" for 64:16:20, or the path of lists, as in `ImageFolder`.
        split_seed: of the seeded division.
        channels: 3 for color, 1 for grayscale.
        name: of the store; by default that of the class.
        size: side length in pixels.
        **shared: see `EpisodicDataModule`.
    """

    def __init__(
        self,
        data_set: Any,
        init_args: dict[str, Any] | None = None,
        modes: dict[str, str] | None = None,
        splits: str = SEEDED,
        split_seed: int = 0,
        channels: int = 3,
        name: str | None = None,
        size: int = 84,
        **shared: Any,
    ) -> None:
        super().__init__(size=size, **shared)
        if not isinstance(data_set, str) and (init_args or modes):
            raise ValueError(
                "`data.init_args.init_args` and `modes` belong to a class path; `data.init_args.data_set` is "
                f"a {type(data_set).__name__}: leave them out."
            )
        self.data_set, self.init_args, self.modes = data_set, init_args, modes
        self.splits, self.split_seed = splits, split_seed
        self.channels = check_channels(channels)
        self.name = name

    def source(self) -> Source:
        """Return the images of the data sets.

        Raises:
            ValueError: nothing is found at the class path, it does not take the arguments, or splits are
                missing.
        """
        made = isinstance(self.data_set, str)
        data_sets = MadeDataSets(self.data_set, self.init_args, self.modes) if made else self.data_set
        name = self.name or _name(self.data_set)
        return Learn2LearnSource(data_sets, name, self.channels, self.splits, self.split_seed)


def _name(data_set: Any) -> str:
    if isinstance(data_set, str):
        return data_set.rpartition(".")[2].lower()
    return "learn2learn" if isinstance(data_set, Mapping) else type(data_set).__name__.lower()
