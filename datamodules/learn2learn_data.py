"""Data sets of learn2learn, and others that give ``(image, label)``."""

import inspect
import json
from collections.abc import Mapping
from typing import Any

from psst.datamodules.episodic import EpisodicDataModule
from psst.episodes.checks import check_channels
from psst.images import Source
from psst.images.source import SPLITS
from psst.images.sources.lists import SEEDED, SPLIT_NAMES
from psst.images.sources.map_style import MapStyleSource

_MODES = {"train": "train", "val": "validation", "test": "test"}  # what learn2learn calls the splits
_ADVICE = "Check `data.init_args.init_args`, and that its files are where it looks for them."


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
        size: int = 84,
        **shared: Any,
    ) -> None:
        super().__init__(size=size, **shared)
        if not isinstance(data_set, str) and (init_args or modes):
            raise ValueError(
                "`data.init_args.init_args` and `modes` belong to a class path; `data.init_args.data_set` is "
                f"a {type(data_set).__name__}: leave them out."
            )
        self.data_set: Any = data_set
        self.init_args, self.modes = init_args, modes
        self.splits, self.split_seed = splits, split_seed
        self.channels = check_channels(channels)

    def source(self) -> Source:
        """Return the images of the data sets; those of a class path are made when they are needed.

        Raises:
            ValueError: nothing is found at the class path, it does not take the arguments, or splits are
                missing or unknown.
        """
        division = self.channels, self.splits, self.split_seed
        if isinstance(self.data_set, Mapping):
            given = {split: [data] for split, data in _by_split(self.data_set, "data_set").items()}
            return MapStyleSource(given, "learn2learn", *division)
        if not isinstance(self.data_set, str):
            return MapStyleSource({"": [self.data_set]}, type(self.data_set).__name__.lower(), *division)
        path, arguments = self.data_set, dict(self.init_args or {})
        make = MapStyleSource.find_class(path)
        own = "mode" in inspect.signature(make).parameters and "mode" not in arguments
        modes = _by_split((_MODES if own else {}) if self.modes is None else self.modes, "modes")
        return MapStyleSource(
            {split: [{**arguments, "mode": mode}] for split, mode in modes.items()} or {"": [arguments]},
            path.rpartition(".")[2].lower(),
            *division,
            options={"class_path": path, "init_args": _text(arguments), "modes": modes},
            by_content=False,
            make=MapStyleSource.maker(make, path, _ADVICE),
        )


def _by_split(given: Mapping[str, Any], argument: str) -> dict[str, Any]:
    """Return what is given for each split under PSST's names."""
    named = {SPLIT_NAMES.get(str(split), str(split)): value for split, value in given.items()}
    if named and (set(named) != set(SPLITS) or len(named) != len(given)):
        raise ValueError(
            f"`data.init_args.{argument}` has the splits {', '.join(map(str, given))}; it needs one entry "
            f"each for {', '.join(SPLITS)}. A single data set has its classes divided."
        )
    return {split: named[split] for split in SPLITS if named}


def _text(arguments: Mapping[str, Any]) -> str:
    """Return arguments as JSON; objects by their text, which tells torchvision's transforms apart."""
    text = json.dumps(arguments, sort_keys=True, default=repr)
    if " at 0x" in text:
        raise ValueError(
            f"`data.init_args.init_args` holds {text}, which is another text in the next run; make the data "
            "sets and give them in place of a class path."
        )
    return text
